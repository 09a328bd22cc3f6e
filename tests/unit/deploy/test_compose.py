"""compose.yaml: hardened services, profiles, health, secrets by file, and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from leadstream_cli import redis_rights
from leadstream_events.settings import PREFIX, Settings, load_settings
from tests.unit.deploy.dockerfile import FILES, ROOT, read

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {"api", "fanout", "mailer", "projections", "archiver", "bounces"}
LASTING = sorted(set(SERVICES) - {"cli"})
KNOWN = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}

each = pytest.mark.parametrize("name", sorted(SERVICES))
each_lasting = pytest.mark.parametrize("name", LASTING)
each_env = pytest.mark.parametrize("name", ["defaults.env", "prod.env.example"])


def env_file(name: str) -> dict[str, str]:
    lines = (ROOT / "deploy/compose" / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_whole_house_is_there() -> None:
    assert {*OURS, "redis", "mailpit", "cli", "prometheus", "grafana"} == set(SERVICES)


@each
def test_every_service_gives_up_what_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & service.keys()
    assert {"cpus", "memory", "pids"} == service["deploy"]["resources"]["limits"].keys()


@each
def test_every_service_runs_as_a_user_that_is_not_root(name: str) -> None:
    if "build" in SERVICES[name]:
        stage = read(ROOT / SERVICES[name]["build"]["dockerfile"])[-1]
        user = next(item.text for item in stage if item.name == "USER")
    else:
        user = SERVICES[name]["user"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@each
def test_every_image_is_built_here_or_pinned_to_a_version(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        assert service["build"]["context"] == "."
        assert ROOT / service["build"]["dockerfile"] in FILES.values()
    else:
        assert re.search(r":v?\d[\w.-]*$", service["image"])


@each_lasting
def test_every_lasting_service_is_checked_and_comes_back(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD" and {"interval", "timeout", "retries", "start_period"} <= check.keys()
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_health_check_is_the_one_of_the_image(name: str) -> None:
    stage = read(ROOT / SERVICES[name]["build"]["dockerfile"])[-1]
    check = next(item for item in stage if item.name == "HEALTHCHECK")
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", *check.exec_form()]


@each
def test_profiles_are_known_and_the_inbox_is_for_development_only(name: str) -> None:
    own = {"mailpit": ["dev"], "cli": ["tools"], "bounces": ["bounces"]}
    own |= {"prometheus": ["observability"], "grafana": ["observability"]}
    wanted = own.get(name, ["dev", "prod"])
    assert SERVICES[name]["profiles"] == wanted


@each
def test_every_setting_exists_and_no_secret_stands_in_the_file(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    assert set(environment) <= KNOWN
    assert not any("PASSWORD" in key or "SMTP_URL" in key for key in environment)


@each_env
def test_the_environment_files_hold_settings_that_exist_and_are_taken(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = env_file(name)
    settings = {key: value for key, value in found.items() if key.startswith(PREFIX)}
    assert set(settings) <= KNOWN
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    load_settings()


def test_every_variable_that_compose_puts_in_is_a_setting_or_told_of_in_the_example() -> None:
    text = "\n".join(line for line in (ROOT / "compose.yaml").read_text().splitlines() if line.lstrip()[:1] != "#")
    variables = re.findall(r"\$\{([A-Z_]+)(:-[^}]*)?\}", text)
    assert variables and all(default for _, default in variables), "a variable without a default stops every profile"
    assert {name for name, _ in variables} <= KNOWN | env_file("prod.env.example").keys() | {"MAILPIT_PUBLISH"}


@each
def test_volumes_networks_secrets_and_files_are_declared_and_exist(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    assert set(service["networks"]) <= COMPOSE["networks"].keys()
    assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
    for item in service.get("env_file", []):
        assert item.get("required", True) is False or (ROOT / item["path"]).is_file()


@each
def test_ports_are_published_on_the_loopback_only_unless_somebody_says_otherwise(name: str) -> None:
    assert all(re.match(r"\$\{[A-Z_]+:-127\.0\.0\.1:", port) for port in SERVICES[name].get("ports", []))


def test_only_what_mails_or_is_published_reaches_beyond_the_inner_network() -> None:
    assert COMPOSE["networks"]["backend"] == {"internal": True}
    inside = {name for name, service in SERVICES.items() if service["networks"] == ["backend"]}
    assert inside == {"redis", "fanout", "projections", "archiver"}


def test_several_mailers_fit_on_one_machine() -> None:
    assert not {"container_name", "ports", "hostname"} & SERVICES["mailer"].keys()


def test_what_must_outlive_a_container_is_on_a_volume() -> None:
    kept = {name: [v for v in SERVICES[name].get("volumes", []) if v.endswith(":/data")] for name in SERVICES}
    assert kept["redis"] == ["redis-data:/data"]
    assert kept["api"] == ["api-data:/data"] and SERVICES["api"]["environment"]["LEADSTREAM_DATA_DIR"] == "/data"
    assert kept["mailer"] == ["mailer-data:/data"]


def test_the_archive_is_written_by_one_service_and_read_by_those_that_show_history() -> None:
    mounted = {n: [v for v in s.get("volumes", []) if v.startswith("archive:")] for n, s in SERVICES.items()}
    assert {name for name, found in mounted.items() if found == ["archive:/archive"]} == {"archiver"}
    assert {name for name, found in mounted.items() if found == ["archive:/archive:ro"]} == {
        "api",
        "projections",
        "cli",
    }


def test_the_api_beyond_loopback_has_keys_from_a_folder_that_it_can_only_read() -> None:
    api, cli = SERVICES["api"], SERVICES["cli"]
    assert api["environment"]["LEADSTREAM_API_HOST"] == "0.0.0.0"
    assert api["environment"]["LEADSTREAM_API_KEYS_FILE"] == cli["environment"]["LEADSTREAM_API_KEYS_FILE"]
    assert Path(api["environment"]["LEADSTREAM_API_KEYS_FILE"]).parent == Path("/keys")
    assert "keys:/keys:ro" in api["volumes"] and "keys:/keys" in cli["volumes"]


def test_services_start_once_redis_is_healthy_and_get_time_to_drain() -> None:
    for name in OURS:
        assert SERVICES[name]["depends_on"] == {"redis": {"condition": "service_healthy"}}
        assert int(SERVICES[name]["stop_grace_period"].rstrip("s")) > Settings().drain_deadline


def test_every_service_logs_in_to_redis_as_its_own_user() -> None:
    users = yaml.safe_load((ROOT / "deploy/compose/redis-users.yaml").read_text())
    assert users["services"].keys() == {*OURS, "cli", "redis"}
    for name in (*OURS, "cli"):
        assert users["services"][name] == {
            "environment": {
                "LEADSTREAM_REDIS_USERNAME": f"leadstream-{name}",
                "LEADSTREAM_REDIS_PASSWORD_FILE": f"/run/secrets/redis_{name}",
            },
            "secrets": [f"redis_{name}"],
        }
        assert users["secrets"][f"redis_{name}"]["file"] == f"${{REDIS_USERS}}/leadstream-{name}.password"
    assert redis_rights.SERVICES.keys() == OURS
    assert users["services"]["redis"]["command"][:2] == SERVICES["redis"]["command"]
    assert env_file("prod.env.example")["COMPOSE_FILE"] == "compose.yaml:deploy/compose/redis-users.yaml"

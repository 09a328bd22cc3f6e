"""The systemd units: they parse, run what the installer makes, hear from the service, and are locked down."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from leadstream_cli.redis_rights import SERVICES
from leadstream_events.notify import BEAT_EVERY_S
from leadstream_events.settings import PREFIX, Settings, load_settings
from tests.unit.deploy.dockerfile import ROOT

FOLDER = ROOT / "deploy/systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
MODULES = {
    "leadstream.service": ("cli", "leadstream_cli.serving"),
    "leadstream-bounces.service": ("bounces", "leadstream_bounces"),
    "leadstream-api.service": ("api", "leadstream_api"),
    "leadstream-fanout.service": ("mailer", "leadstream_mailer fanout"),
    "leadstream-mailer@.service": ("mailer", "leadstream_mailer"),
    "leadstream-projections.service": ("projections", "leadstream_projections"),
    "leadstream-archiver.service": ("archiver", "leadstream_archiver"),
}
HARDENING = {
    **dict.fromkeys(
        [
            *("DynamicUser", "LockPersonality", "MemoryDenyWriteExecute", "NoNewPrivileges", "PrivateDevices"),
            *("PrivateTmp", "ProtectControlGroups", "ProtectHome", "ProtectKernelModules", "ProtectKernelTunables"),
            *("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID"),
        ],
        "yes",
    ),
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "SystemCallArchitectures": "native",
}


def systemd_version() -> int:
    """0 where there is none."""
    if shutil.which("systemd-analyze") is None:
        return 0
    done = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, timeout=30)
    found = re.match(r"systemd (\d+)", done.stdout)
    return int(found[1]) if found else 0


needs_systemd = pytest.mark.skipif(systemd_version() < 250, reason="no systemd-analyze from systemd 250 on here")
each = pytest.mark.parametrize("unit", UNITS)


def parse(unit: str) -> dict[str, dict[str, list[str]]]:
    """Section to name to values; AssertionError for a line that is none."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in (FOLDER / unit).read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
            continue
        pair = re.fullmatch(r"(\w+)=(.*)", line)
        assert pair and section, f"{unit}: not a line of a unit: {line}"
        found[section][pair[1]].append(pair[2])
    return found


def only(unit: str, name: str) -> str:
    values = parse(unit)["Service"][name]
    assert len(values) == 1, f"{unit}: {name} stands there {len(values)} times"
    return values[0]


def test_there_is_a_unit_for_every_service() -> None:
    assert set(MODULES) == set(UNITS)


@each
def test_the_unit_starts_the_module_from_the_folder_that_the_installer_fills(unit: str) -> None:
    folder, module = MODULES[unit]
    assert only(unit, "ExecStart") == f"/opt/leadstream/{folder}/bin/python -P -m {module}"
    package = module.split()[0].replace(".", "/")
    assert (ROOT / ("" if folder == "cli" else "services") / folder / package / "__main__.py").is_file()


@each
def test_the_unit_is_locked_down(unit: str) -> None:
    service = parse(unit)["Service"]
    assert {name: service[name][0] if service[name] else None for name in HARDENING} == HARDENING
    assert service["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]


@each
def test_the_unit_hears_ready_and_alive_and_waits_for_the_drain(unit: str) -> None:
    assert only(unit, "Type") == "notify" and only(unit, "NotifyAccess") == "main"
    assert float(only(unit, "WatchdogSec").rstrip("s")) >= 4 * BEAT_EVERY_S
    assert float(only(unit, "TimeoutStopSec").rstrip("s")) > Settings().drain_deadline + 5


@each
def test_a_crash_is_mended_by_a_restart_and_a_wrong_setting_is_not_tried_again(unit: str) -> None:
    assert only(unit, "Restart") == "always" and only(unit, "RestartPreventExitStatus") == "2"
    assert parse(unit)["Unit"]["StartLimitIntervalSec"] == ["0"]


@each
def test_what_is_set_in_the_unit_is_a_setting_and_data_lies_in_the_state_directory(unit: str) -> None:
    pairs = dict(item.split("=", 1) for item in only(unit, "Environment").split())
    ours = {name: value for name, value in pairs.items() if name.startswith(PREFIX)}
    assert {name.removeprefix(PREFIX).lower() for name in ours} <= Settings.model_fields.keys()
    if PREFIX + "DATA_DIR" in ours:
        assert ours[PREFIX + "DATA_DIR"] == f"/var/lib/{only(unit, 'StateDirectory')}"


@pytest.mark.parametrize("unit", ["leadstream.service", "leadstream-api.service", "leadstream-mailer@.service"])
def test_a_service_that_spools_has_a_state_directory(unit: str) -> None:
    assert "DATA_DIR" in only(unit, "Environment")


def test_the_example_environment_holds_settings_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (FOLDER / "leadstream.env.example").read_text().splitlines()
    pairs = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert {name.removeprefix(PREFIX).lower() for name in pairs} <= Settings.model_fields.keys()
    for name, value in pairs.items():
        monkeypatch.setenv(name, value)
    load_settings()


def installed(tmp_path: Path) -> list[str]:
    """Copies of the units with an interpreter that is here, the template as two instances; their paths."""
    found = []
    for unit in UNITS:
        text = re.sub(r"/opt/leadstream/\w+/bin/python", sys.executable, (FOLDER / unit).read_text())
        for name in [unit.replace("@", f"@{number}") for number in (1, 2)] if "@" in unit else [unit]:
            (tmp_path / name).write_text(text)
            found.append(str(tmp_path / name))
        (tmp_path / unit).write_text(text)
    return found


@needs_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *installed(tmp_path)], capture_output=True, text=True, timeout=60
    )
    ours = [line for line in done.stderr.splitlines() if "leadstream" in line]
    assert (done.returncode, ours) == (0, [])


@needs_systemd
def test_systemd_rates_the_exposure_of_every_unit_as_low(tmp_path: Path) -> None:
    for path in installed(tmp_path):
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20", path],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_each_unit_has_the_user_of_its_own_name_and_its_password_alone() -> None:
    lines = (FOLDER / "redis-user.conf").read_text().splitlines()
    assert "LoadCredential=redis-password:/etc/leadstream/redis/%p.password" in lines
    names = {unit.removesuffix(".service").removesuffix("@") for unit in UNITS}
    names -= {"leadstream"}  # all services under one parent have one login
    assert names == {f"leadstream-{name}" for name in SERVICES}
    together = (FOLDER / "redis-user-serve.conf").read_text().splitlines()
    assert together[-3:] == [line.replace("%p", "leadstream-serve") for line in lines[-3:]]

"""What every image keeps to: pinned bases, hashed requirements of its own, no root, no shell as PID 1."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy.dockerfile import FILES, ROOT, Instruction, read

each = pytest.mark.parametrize("service", sorted(FILES))
each_service = pytest.mark.parametrize("service", sorted(set(FILES) - {"cli"}))


def named(stage: list[Instruction], name: str) -> list[Instruction]:
    return [item for item in stage if item.name == name]


def last(service: str, name: str) -> Instruction:
    found = named(read(FILES[service])[-1], name)
    assert found, f"the last stage of {service} has no {name}"
    return found[-1]


def copied(service: str) -> list[str]:
    """What is copied out of the build context."""
    items = [item.words for stage in read(FILES[service]) for item in named(stage, "COPY")]
    return [path for words in items if not words[0].startswith("--from") for path in words[:-1]]


def tracked(path: str) -> bool:
    """True when git knows the path, or when this is no clone."""
    if not (ROOT / ".git").exists():
        return True
    done = subprocess.run(["git", "ls-files", path], cwd=ROOT, capture_output=True, text=True, check=True)
    return bool(done.stdout)


@each
def test_every_base_is_pinned_to_a_version_and_both_stages_share_it(service: str) -> None:
    bases = {stage[0].words[0] for stage in read(FILES[service])}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+(\.\d+)?-slim(-[a-z]+)?", bases.pop())


@each
def test_the_image_is_built_in_stages_and_takes_only_the_environment_out_of_the_first(service: str) -> None:
    stages = read(FILES[service])
    assert len(stages) == 2
    taken = [item.text for item in named(stages[-1], "COPY") if "--from" in item.text]
    assert taken == ["--from=builder /opt/leadstream /opt/leadstream"]


@each
def test_the_image_ends_as_a_user_with_a_fixed_number_that_is_not_root(service: str) -> None:
    assert re.fullmatch(r"[1-9]\d{4}:[1-9]\d{4}", last(service, "USER").text)
    after = read(FILES[service])[-1][::-1]
    assert all(item.name not in ("RUN", "COPY") for item in after[: after.index(last(service, "USER"))])


@each
def test_the_process_is_pid_1_itself_and_stops_on_sigterm(service: str) -> None:
    command = [word for name in ("ENTRYPOINT", "CMD") for item in named(read(FILES[service])[-1], name) for word in
               item.exec_form()]  # fmt: skip
    assert command[:3] == ["python", "-P", "-m"]
    assert last(service, "STOPSIGNAL").text == "SIGTERM"


@each_service
def test_the_command_is_a_module_of_the_service(service: str) -> None:
    package = last(service, "CMD").exec_form()[3]
    assert (ROOT / "services" / service / package / "__main__.py").is_file()


@each_service
def test_health_is_checked_in_exec_form_by_a_script_that_is_in_the_image(service: str) -> None:
    command = last(service, "HEALTHCHECK").exec_form()
    script, kind = command[-2:]
    assert command[:-2] == ["python", "-I", "-S"] and kind == ("http" if service == "api" else "heartbeat")
    assert f"deploy/healthcheck.py {script}" in [item.text for item in named(read(FILES[service])[-1], "COPY")]


@each
def test_everything_copied_exists_in_git_and_passes_the_dockerignore(service: str) -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for path in copied(service):
        assert tracked(path), f"{path} is not in the repository"
        assert (ROOT / path).exists()
        names = [path, *map(str, Path(path).parents)]
        assert any(fnmatch.fnmatch(name, pattern) for name in names for pattern in kept), f"{path} is ignored"


@each
def test_only_the_services_own_requirement_file_and_that_for_spans_are_copied(service: str) -> None:
    runs = [item.text for item in named(read(FILES[service])[0], "RUN")]
    assert runs == [
        f"sh deploy/install-service.sh {service} /opt/leadstream requirements",
        f"sh deploy/install-service.sh {service} /opt/leadstream packages",
    ]
    files = [path for path in copied(service) if path.startswith("requirements/")]
    assert files == [f"requirements/{service}.txt", "requirements/tracing.txt"]


@each
def test_spans_are_not_installed_unless_asked_for(service: str) -> None:
    assert [item.text for item in named(read(FILES[service])[0], "ARG")] == ["TRACING="]


@each_service
def test_no_other_service_is_copied_into_the_image(service: str) -> None:
    assert [path for path in copied(service) if path.startswith(("services/", "cli"))] == [f"services/{service}"]


@each
def test_no_step_downloads_or_installs_beside_the_hashed_file(service: str) -> None:
    text = " ".join(item.text for stage in read(FILES[service]) for item in named(stage, "RUN"))
    assert not re.search(r"\b(apt|apt-get|apk|curl|wget|pip|sudo|chmod 777)\b", text)


@each
def test_no_image_holds_a_secret(service: str) -> None:
    text = " ".join(item.text for stage in read(FILES[service]) for item in named(stage, "ENV"))
    assert not re.search(r"(?i)password|secret|token|key=", text)


def test_the_installer_installs_hashed_wheels_only_and_never_resolves() -> None:
    text = re.sub(r"\\\n\s*", "", (ROOT / "deploy/install-service.sh").read_text())
    installs = [line for line in text.splitlines() if " install " in line and not line.lstrip().startswith("#")]
    assert len(installs) == 1
    for wanted in ("--require-hashes", "--only-binary :all:", "--no-cache-dir", '-r "requirements/$service.txt"'):
        assert wanted in installs[0]


@pytest.mark.parametrize("args", [[], ["api"], ["everything", "TARGET"], ["api", "TARGET", "some"]])
def test_the_installer_refuses_wrong_use_before_it_does_anything(args: list[str], tmp_path: Path) -> None:
    target = tmp_path / "target"
    done = subprocess.run(
        ["sh", "deploy/install-service.sh", *(str(target) if arg == "TARGET" else arg for arg in args)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("sh deploy/install-service.sh SERVICE TARGET")
    assert not target.exists()

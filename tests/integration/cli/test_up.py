"""`up` keeps everything running, brings back what dies, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leadstream_cli.http_client import ApiClient
from tests.integration.cli.conftest import environment, run_process
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.waiting import eventually_sync, process_runs

LEAD = b'{"full_name": "Ann Other", "email": "ann.other@example.com", "state": "CA"}'
READY = "leadstream is ready"


def make(tmp_path: Path, *more: str, **settings: str) -> ServiceProcess:
    env = {"LEADSTREAM_RATE_LIMIT": "off", "LEADSTREAM_DATA_DIR": str(tmp_path / "data"), **settings}
    return ServiceProcess(
        ("up", "--port", str(free_port()), "--redis-port", "0", *more),
        env=environment(env),
        output=tmp_path / "up.log",
        ready_line=READY,
        cwd=tmp_path,
    )


@pytest.fixture
def up(tmp_path: Path) -> Iterator[ServiceProcess]:
    with make(tmp_path) as process:
        yield process


def run_file(tmp_path: Path) -> dict[str, Any]:
    found = json.loads((tmp_path / "data" / "up.json").read_text())
    assert isinstance(found, dict)
    return found


def children(pid: int) -> dict[str, int]:
    """The processes below one, by what they run: `api`, `fanout`, ... and `redis`."""
    out = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            words = (status.parent / "cmdline").read_bytes().decode().split("\0")
        except (OSError, ValueError):
            continue
        if parent == pid and len(words) > 1:  # a zombie has no command line
            out["redis" if "server" in words[0] else words[-2]] = int(status.parent.name)
    return out


def counts(run: dict[str, Any]) -> dict[str, int]:
    with ApiClient(run["inbox_url"]) as inbox:
        body = inbox.request("GET", "/counts").body
        assert isinstance(body, dict)
        return body


def submit(run: dict[str, Any]) -> str:
    with ApiClient(run["api_url"]) as api:
        answer = api.submit(LEAD)
        assert answer.status == 202, answer
        return str(answer.body["lead_id"])


def test_a_lead_becomes_mail_and_other_commands_find_the_running_up(tmp_path: Path, up: ServiceProcess) -> None:
    run = run_file(tmp_path)
    env = {"LEADSTREAM_DATA_DIR": str(tmp_path / "data")}
    added = run_process("subscribers", "add", "sub@example.com", "--name", "Sub", cwd=tmp_path, env=env)
    assert added.code == 0, added.err
    sent = run_process("lead", "submit", "-", cwd=tmp_path, env=env, stdin=LEAD)
    assert sent.code == 0, sent.err
    eventually_sync(lambda: counts(run)["mails"] == 2, "both mails to arrive")
    assert counts(run) == {"mails": 2, "distinct": 2, "doubled": 0}
    eventually_sync(lambda: run_process("pending", "--json", cwd=tmp_path, env=env).json == [], "nothing to be pending")
    shown = run_process("inbox", cwd=tmp_path, env=env).out
    assert shown.count("\n") == 3
    assert "Ann Other" not in shown and "ann.other@example.com" not in shown
    assert "Ann Other" in run_process("inbox", "--pii", cwd=tmp_path, env=env).out  # in a subject
    doctor = run_process("doctor", cwd=tmp_path, env=env)
    assert doctor.code == 0
    assert run_file(tmp_path)["api_url"] in doctor.out and "kept for 604800 s" in doctor.out
    assert "fanout, mailer and projections are alive" in doctor.out
    assert up.terminate() == 0
    assert "stopped" in up.text()
    assert not (tmp_path / "data" / "up.json").exists()


@pytest.mark.parametrize("name", ["api", "fanout", "mailer", "projections", "archiver", "redis"])
def test_a_part_that_is_killed_comes_back_and_work_goes_on(tmp_path: Path, up: ServiceProcess, name: str) -> None:
    run = run_file(tmp_path)
    before = children(up.pid)
    assert set(before) == {"api", "fanout", "mailer", "projections", "archiver", "redis"}
    os.kill(before[name], signal.SIGKILL)
    eventually_sync(lambda: children(up.pid).get(name) not in (None, before[name]), f"{name} to come back")
    with ApiClient(run["api_url"]) as api:

        def ready() -> bool:
            try:
                return bool(api.request("GET", "/health/ready").body["status"] == "ready")
            except Exception:
                return False

        eventually_sync(ready, "the API to be ready, and not degraded")
    lead_id = submit(run)
    eventually_sync(lambda: counts(run)["mails"] == 1, "the welcome mail to arrive")
    with ApiClient(run["api_url"]) as api:
        eventually_sync(
            lambda: api.request("GET", f"/leads/{lead_id}").body["mails"][0]["state"] == "sent", "the mail to be sent"
        )
    told = "restarting it" if name == "redis" else f"{name} restarted"
    eventually_sync(lambda: told in up.text(), "up to tell of it")


def test_killing_up_takes_every_child_with_it(up: ServiceProcess) -> None:
    below = children(up.pid)
    assert len(below) == 6
    up.kill()
    eventually_sync(lambda: not any(process_runs(pid) for pid in below.values()), "every child to end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_with_exit_code_0(up: ServiceProcess, number: signal.Signals) -> None:
    below = children(up.pid)
    os.kill(up.pid, number)
    assert up.wait() == 0
    assert not any(process_runs(pid) for pid in below.values())


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    with make(tmp_path) as first:
        lead_id = submit(run_file(tmp_path))
        assert first.terminate() == 0
    with make(tmp_path), ApiClient(run_file(tmp_path)["api_url"]) as api:
        assert api.request("GET", f"/leads/{lead_id}").status == 200


def test_a_redis_and_an_smtp_server_that_are_set_are_used(tmp_path: Path, redis_url: str) -> None:
    with make(tmp_path, LEADSTREAM_REDIS_URL=redis_url, LEADSTREAM_SMTP_URL="smtp://127.0.0.1:1") as up:
        assert set(children(up.pid)) == {"api", "fanout", "mailer", "projections", "archiver"}
        run = run_file(tmp_path)
        assert (run["redis_url"], run["smtp_url"], run["inbox_url"]) == (redis_url, "smtp://127.0.0.1:1", "")
        assert up.terminate() == 0


def test_a_second_up_on_the_same_directory_is_refused(tmp_path: Path, up: ServiceProcess) -> None:
    result = run_process(
        *("up", "--port", "0", "--redis-port", "0"), cwd=tmp_path, env={"LEADSTREAM_DATA_DIR": str(tmp_path / "data")}
    )
    assert result.code == 2
    assert "is in use by process" in result.err


def test_a_setting_that_a_service_refuses_stops_everything_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "welcome.txt").write_text("{% if %}")
    result = run_process(
        *("up", "--port", "0", "--redis-port", "0"),
        cwd=tmp_path,
        env={"LEADSTREAM_DATA_DIR": str(tmp_path / "data"), "LEADSTREAM_TEMPLATES_DIR": str(folder)},
    )
    assert result.code == 2
    assert "mailer refuses its configuration" in result.err
    assert "welcome.txt" in result.err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "rediss://app:hunter2@redis.example.com:6379/0"),
        ("SMTP_URL", "smtp+starttls://app:hunter2@mail.example.com:587"),
        ("API_HOST", "0.0.0.0"),
        ("ARCHIVE_URL", "s3://leads-of-production/archive"),
    ],
)
def test_up_refuses_what_is_not_on_this_machine_before_it_starts_anything(
    tmp_path: Path, name: str, value: str
) -> None:
    env = {"LEADSTREAM_DATA_DIR": str(tmp_path / "data"), f"LEADSTREAM_{name}": value}
    done = run_process("up", "--port", "0", cwd=tmp_path, env=env)
    assert done.code == 2, done.err
    assert f"LEADSTREAM_{name} is not on this machine" in done.err
    assert "--development" in done.err and "docs/deploy.md" in done.err
    assert "hunter2" not in done.err and "Traceback" not in done.err
    assert not (tmp_path / "data").exists()


def test_with_development_up_sends_through_a_mail_server_elsewhere(tmp_path: Path) -> None:
    """A name that no resolver knows (RFC 6761) stands for the server elsewhere."""
    with make(tmp_path, "--development", LEADSTREAM_SMTP_URL="smtp://mail.invalid:25") as up:
        assert run_file(tmp_path)["smtp_url"] == "smtp://mail.invalid:25"
        assert up.terminate() == 0

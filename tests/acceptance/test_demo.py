"""The first thing that a newcomer runs: one command, real parts, and a verdict that can be trusted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.conftest import command, environment

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def demo(*args: str, cwd: Path = ROOT, tmp: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    env = environment({"TMPDIR": str(tmp), **settings})
    return subprocess.run(command("demo", *args), cwd=cwd, env=env, capture_output=True, text=True, timeout=100)


def test_the_demo_sends_every_mail_once_counts_it_and_cleans_up(tmp_path: Path) -> None:
    # A setting of the caller's must not reach the demo.
    done = demo(tmp=tmp_path, LEADSTREAM_WELCOME="off", LEADSTREAM_REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nlead ") == 40
    assert done.stdout.count("\nmail ") == 134
    assert "OK: everything that was due arrived exactly once" in done.stdout
    assert "p50" in done.stdout and "p95" in done.stdout
    assert list(tmp_path.iterdir()) == []


def server_of(demo_pid: int) -> int:
    """The demo's server among its children, whichever of its threads started it."""
    children = [
        pid for task in Path(f"/proc/{demo_pid}/task").iterdir() for pid in (task / "children").read_text().split()
    ]
    return next(int(pid) for pid in children if "-server" in Path(f"/proc/{pid}/comm").read_text())


def test_leads_that_its_server_takes_too_late_are_waited_for(tmp_path: Path) -> None:
    env = environment({"TMPDIR": str(tmp_path)})
    with subprocess.Popen(command("demo"), cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = (line for line in process.stdout if line.startswith("lead "))
        for _ in range(38):
            next(lines)
        server = server_of(process.pid)
        os.kill(server, signal.SIGSTOP)
        try:
            for _ in range(2):  # its last ones: nothing is posted while they are merged
                assert next(lines).split()[2] == "202"
        finally:
            os.kill(server, signal.SIGCONT)
        rest, _ = process.communicate(timeout=100)
    assert process.returncode == 0, rest
    assert "OK: everything that was due arrived exactly once" in rest


def test_the_report_is_json_when_asked_for(tmp_path: Path) -> None:
    done = demo("--json", tmp=tmp_path)
    report = json.loads(done.stdout)
    assert (report["ok"], report["leads"], report["mails"], report["problems"]) == (True, 40, 134, [])
    assert 0 < report["p50_ms"] <= report["p95_ms"]


def test_a_lead_that_is_refused_fails_the_demo_by_name(tmp_path: Path) -> None:
    leads = tmp_path / "leads.jsonl"
    leads.write_text('{"full_name": "Ann", "email": "ann@example.com"}\n{"full_name": "Bob", "email": "nobody"}\n')
    done = demo("--leads", str(leads), tmp=tmp_path)
    assert done.returncode == 1
    assert "WRONG  lead 2: 422 email" in done.stderr
    assert "data and logs: " in done.stderr


def test_mails_that_the_limit_holds_back_fail_the_demo_after_its_timeout(tmp_path: Path) -> None:
    done = demo("--rate-limit", "20/h", "--timeout", "10", tmp=tmp_path)
    assert done.returncode == 1
    assert "not finished after 10 s: group mailer" in done.stderr
    # A token whose mail was not begun within a second is lost, which errs on the safe side.
    counted = re.search(r"counter sent is (\d+), 134 expected", done.stderr)
    assert counted and 0 < int(counted[1]) <= 20
    assert sum("its welcome mail is missing" in line for line in done.stderr.splitlines()) > 10


def test_outside_a_checkout_it_says_what_it_needs(tmp_path: Path) -> None:
    done = demo(cwd=tmp_path, tmp=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "examples/subscribers.csv: No such file or directory; run it from a checkout" in done.stderr


def test_it_runs_as_an_installed_script(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "leadstream"
    done = subprocess.run([script, "demo", "--help"], cwd=tmp_path, env=environment({}), capture_output=True, text=True)
    assert done.returncode == 0
    assert "every mail arrived exactly once" in " ".join(done.stdout.split())

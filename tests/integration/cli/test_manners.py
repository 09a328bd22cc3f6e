"""The command in pipes, without a terminal, in narrow ones, interrupted, and in front of a dead Redis."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.cli.conftest import command, environment, run_process
from tests.support.waiting import eventually_sync

LEADS = "leadstream:{0}:leads"


@contextmanager
def running(*args: str, cwd: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process with pipes; killed when the test ends."""
    env = environment({"LEADSTREAM_REDIS_URL": url})
    pipe = subprocess.PIPE
    with subprocess.Popen(command(*args), stdout=pipe, stderr=pipe, env=env, cwd=cwd) as process:
        try:
            yield process
        finally:
            process.kill()


def until_hung_up(master: int) -> bytes:
    """All that is written to a terminal until its last user has left; the kernel hands it over in pieces."""
    seen = b""
    while True:
        try:
            piece = os.read(master, 65_536)
        except OSError:  # EIO: nobody has the other end any more
            return seen
        if not piece:
            return seen
        seen += piece


READING = (
    ("streams",),
    ("groups",),
    ("consumers", "mailer"),
    ("pending",),
    ("tail", "leads"),
    ("show", "leads/1-0"),
    ("trace", "ann@example.com"),
    ("lead", "show", "x"),
    ("subscribers", "list"),
    ("suppressions", "list"),
    ("trace", "--subscriber", "x"),
    ("dead", "list"),
    ("projections", "status"),
    ("operations",),
    ("top",),
    ("export",),
)
CHANGING = (
    ("dead", "redrive", "--all", "--yes"),
    ("dead", "drop", "--all", "--yes", "--reason", "x"),
    ("claim", "mailer", "--yes"),
    ("seek", "mailer", "--to", "beginning", "--yes"),
    ("trim", "leads", "--before", "1d", "--yes"),
    ("import", "-", "--yes"),
)


@pytest.mark.parametrize("args", (*READING, *CHANGING), ids=" ".join)
def test_a_dead_redis_is_one_clear_line_and_exit_code_1(tmp_path: Path, args: tuple[str, ...]) -> None:
    result = run_process(*args, cwd=tmp_path, env={"LEADSTREAM_REDIS_URL": "redis://me:hunter2@127.0.0.1:1/0"})
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "leadstream: Redis at redis://me:***@127.0.0.1:1/0 (down): nothing answers there: "
        "start it (leadstream up), or set LEADSTREAM_REDIS_URL\n"
    )


@pytest.mark.parametrize(
    "args", [("nonsense",), ("tail", "nonsense"), ("streams", "--nonsense"), ("pending", "-n", "x")]
)
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path: Path, args: tuple[str, ...]) -> None:
    result = run_process(*args, cwd=tmp_path, env={})
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "--help" in result.err


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/0", "nonsense"])
def test_an_url_that_is_none_names_the_setting(tmp_path: Path, url: str) -> None:
    result = run_process("streams", cwd=tmp_path, env={"LEADSTREAM_REDIS_URL": url})
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "LEADSTREAM_REDIS_URL" in result.err


def test_the_help_imports_neither_redis_nor_any_service(tmp_path: Path) -> None:
    code = (
        "import sys; from leadstream_cli.main import run; code = run(['--help']);"
        "bad = {'redis', 'litestar', 'faust', 'uvicorn', 'textual', 'pydantic', 'aiosmtplib'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment({}), capture_output=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"projections" in done.stdout


def test_reading_streams_imports_no_schema(tmp_path: Path, redis_url: str) -> None:
    code = (
        "import sys; from leadstream_cli.main import run\n"
        "for line in ('streams', 'groups', 'pending', 'tail leads', 'dead list', 'operations'):\n"
        "    assert run(line.split()) == 0\n"
        "sys.exit(str({'pydantic', 'rich.console', 'leadstream_events.envelope'} & set(sys.modules) or '0'))"
    )
    env = environment({"LEADSTREAM_REDIS_URL": redis_url})
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == b"0"


def test_a_reader_that_leaves_the_pipe_is_no_failure(tmp_path: Path, redis_url: str) -> None:
    with Redis.from_url(redis_url, protocol=2) as client, client.pipeline() as pipe:
        for number in range(3_000):
            pipe.xadd(LEADS, {"type": "LeadReceived", "data": '{"note": "' + "x" * 200 + '"}'}, id=f"{number + 1}-0")
        pipe.execute()
    with running("tail", "leads", "--since", "1-0", cwd=tmp_path, url=redis_url) as process:
        assert process.stdout is not None and process.stderr is not None
        assert b"leads/1-0" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


def test_a_reader_that_leaves_an_export_is_no_failure(tmp_path: Path, redis_url: str) -> None:
    with Redis.from_url(redis_url, protocol=2) as client, client.pipeline() as pipe:
        for number in range(3_000):
            pipe.xadd(LEADS, {"type": "LeadReceived", "data": '{"note": "' + "x" * 200 + '"}'}, id=f"{number + 1}-0")
        pipe.execute()
    with running("export", cwd=tmp_path, url=redis_url) as process:
        assert process.stdout is not None and process.stderr is not None
        assert b'"entryid":"1-0"' in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


def test_ctrl_c_ends_a_slow_redrive_without_a_traceback_and_what_was_done_is_done_once(
    tmp_path: Path, redis_url: str
) -> None:
    dead = "leadstream:{0}:dead"
    with Redis.from_url(redis_url, protocol=2) as client:
        client.xadd(LEADS, {"id": "x"}, id="1-0")
        client.xgroup_create(LEADS, "fanout", "$")
        data = {"stream": "leads", "entry_id": "1-0", "group": "fanout", "cause": "bug", "fields": {"id": "x"}}
        fields = {"id": "i", "type": "EntryDeadLettered", "v": "1", "time": "2026-01-31T09:00:00Z", "subject": "s"}
        for _ in range(2):
            client.xadd(dead, fields | {"data": json.dumps(data)})
        with running("dead", "redrive", "--all", "--yes", "--rate", "1/h", cwd=tmp_path, url=redis_url) as process:
            assert process.stderr is not None
            eventually_sync(lambda: client.xlen(dead) == 1, "the first letter to be redriven")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stderr.read() == b"interrupted\n"
        assert client.xlen(dead) == 1


def test_top_on_a_terminal_ends_with_ctrl_c_and_leaves_the_screen_as_it_was(tmp_path: Path, redis_url: str) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = environment({"LEADSTREAM_REDIS_URL": redis_url, "TERM": "xterm"})
    with subprocess.Popen(command("top"), stdin=slave, stdout=slave, stderr=slave, env=env, cwd=tmp_path) as process:
        os.close(slave)
        seen = b""
        while b"dead letters" not in seen:
            seen += os.read(master, 65_536)
        os.write(master, b"\x03")
        while b"\x1b[?1049l" not in seen:
            seen += os.read(master, 65_536)
        assert process.wait(20) == 0
    os.close(master)


def test_ctrl_c_ends_tail_f_without_a_traceback(tmp_path: Path, redis_url: str) -> None:
    with Redis.from_url(redis_url, protocol=2) as client:
        client.xadd(LEADS, {"type": "LeadReceived"}, id="1-0")
        with running("tail", "leads", "-f", cwd=tmp_path, url=redis_url) as process:
            assert process.stdout is not None and process.stderr is not None
            assert b"leads/1-0" in process.stdout.readline()
            client.xadd(LEADS, {"type": "LeadReceived"}, id="2-0")
            assert b"leads/2-0" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stderr.read() == b"interrupted\n"


def test_tail_f_says_it_when_redis_goes_away(tmp_path: Path, fresh_server: object) -> None:
    server = fresh_server(port=0)  # type: ignore[operator]
    with Redis.from_url(server.url, protocol=2) as client:
        client.xadd(LEADS, {"type": "LeadReceived"}, id="1-0")
    with running("tail", "leads", "-f", cwd=tmp_path, url=server.url) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        server.kill()
        assert process.wait(20) == 1
        assert process.stderr.read().decode().startswith("leadstream: Redis at redis://127.0.0.1")


@pytest.mark.parametrize("columns", [40, 200])
def test_on_a_terminal_a_table_fits_its_width(tmp_path: Path, redis_url: str, columns: int) -> None:
    with Redis.from_url(redis_url, protocol=2) as client:
        client.xgroup_create(LEADS, "fanout", "0", mkstream=True)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = environment({"LEADSTREAM_REDIS_URL": redis_url, "NO_COLOR": "1", "TERM": "xterm"})
    with subprocess.Popen(command("groups"), stdin=slave, stdout=slave, stderr=slave, env=env, cwd=tmp_path) as process:
        os.close(slave)
        seen = until_hung_up(master)
        assert process.wait(20) == 0
    lines = seen.decode().splitlines()
    os.close(master)
    assert all(len(line) <= columns for line in lines)
    assert any("LAG BY SERVER" in line for line in lines)
    assert (len(lines) == 2) is (columns == 200)  # columns do not fit into 40: a line per field


def test_leads_from_stdin_that_no_api_takes_fail_in_one_line(tmp_path: Path) -> None:
    result = run_process("lead", "submit", "-", "--url", "http://127.0.0.1:1", cwd=tmp_path, env={}, stdin=b"{}")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "does not answer" in result.err
    assert run_process("lead", "submit", "-", cwd=tmp_path, env={}, stdin=b"").code == 1
    assert run_process("lead", "submit", "absent.json", cwd=tmp_path, env={}).err.startswith("leadstream: absent.json")

"""The health check of the containers, run as they run it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy" / "healthcheck.py"


def check(*args: str, **env: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), *args], env=env, capture_output=True, text=True, timeout=30
    )
    return done.returncode, done.stderr


def test_a_new_heartbeat_is_healthy_an_old_one_and_none_are_not(tmp_path: Path) -> None:
    beat = tmp_path / "alive"
    code, text = check("heartbeat", LEADSTREAM_HEARTBEAT_FILE=str(beat))
    assert code == 1 and "No such file" in text
    beat.touch()
    assert check("heartbeat", LEADSTREAM_HEARTBEAT_FILE=str(beat)) == (0, "")
    old = beat.stat().st_mtime - 60
    os.utime(beat, (old, old))
    code, text = check("heartbeat", LEADSTREAM_HEARTBEAT_FILE=str(beat))
    assert code == 1 and "s old" in text


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_api_is_healthy_only_when_it_answers_200(status: int, code: int) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert check("http", LEADSTREAM_API_PORT=str(server.server_port))[0] == code
        thread.join()
    assert asked == ["/health/live"]
    assert check("http", LEADSTREAM_API_PORT=str(server.server_port))[0] == 1, "nobody listens any more"


def test_wrong_use_is_not_healthy() -> None:
    assert check() == (1, "usage: healthcheck.py http|heartbeat\n")

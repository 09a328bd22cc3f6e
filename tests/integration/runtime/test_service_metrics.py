"""What a real worker answers on METRICS_LISTEN, and that a taken port stops nobody."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx

from leadstream_cli.embedded import EmbeddedServer
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.redis_server import ServerFactory
from tests.support.waiting import eventually_sync

ROOT = Path(__file__).parents[3]


def worker(tmp_path: Path, redis_url: str, listen: str = "127.0.0.1:0", **env: str) -> ServiceProcess:
    known = {"LEADSTREAM_REDIS_URL": redis_url, "LEADSTREAM_METRICS_LISTEN": listen}
    return ServiceProcess([], env=known | env, output=tmp_path / "log", module="tests.support.idle_service", cwd=ROOT)


def asking(process: ServiceProcess) -> httpx.Client:
    """A client for the port that the log names."""

    def place() -> str | None:
        found = re.search(r"127\.0\.0\.1:[0-9]{2,5}", process.text())
        return found[0] if found else None

    at = eventually_sync(place, "the log to name the port")
    return httpx.Client(base_url=f"http://{at}", trust_env=False, timeout=10.0)


def test_a_worker_answers_its_metrics_and_that_it_lives_and_is_ready(tmp_path: Path, redis_url: str) -> None:
    with worker(tmp_path, redis_url) as process, asking(process) as ask:
        eventually_sync(lambda: ask.get("/health/ready").status_code == 200, "the worker to be ready")
        assert ask.get("/health/live").json() == {"status": "ok"}
        text = ask.get("/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=")
        assert 'leadstream_consumer_healthy{group="idle"} 1.0' in text.text
        assert ask.head("/metrics").content == b""
        assert ask.get("/other").status_code == 404
        assert ask.post("/metrics").status_code == 405
        assert ask.get("/metrics", headers={"x": "y" * 20_000}).status_code == 431
        assert process.terminate() == 0


def test_a_worker_without_redis_lives_but_is_not_ready(tmp_path: Path, fresh_server: ServerFactory) -> None:
    port = free_port()
    with worker(tmp_path, f"redis://127.0.0.1:{port}/0") as process, asking(process) as ask:
        assert ask.get("/health/ready").json() == {"status": "unavailable", "causes": ["waiting for redis"]}
        assert ask.get("/health/live").status_code == 200
        server: EmbeddedServer = fresh_server(port=port)
        eventually_sync(lambda: ask.get("/health/ready").status_code == 200, "the worker to find Redis")
        server.kill()
        eventually_sync(lambda: ask.get("/health/ready").status_code == 503, "the worker to miss Redis")
        assert ask.get("/health/ready").json()["causes"][0].startswith("redis: ")
        assert ask.get("/health/live").status_code == 200


def test_a_taken_port_is_said_and_the_worker_works(tmp_path: Path, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with worker(tmp_path, redis_url, listen) as process:
            eventually_sync(lambda: "consumers=1" in process.text(), "the worker to be ready")
            assert "LEADSTREAM_METRICS_LISTEN cannot be had" in process.text()
            assert process.terminate() == 0

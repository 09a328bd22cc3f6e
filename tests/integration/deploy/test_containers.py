"""The whole house on the servers that people run, from their own images; needs a Docker engine."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker  # type: ignore[import-untyped]
import pytest
import redis
from testcontainers.core.container import DockerContainer

from leadstream_cli.embedded import EmbeddedServer
from tests.support.house import House
from tests.support.waiting import eventually, eventually_sync

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SERVERS = ("redis:7.2-alpine", "redis:8-alpine", "valkey/valkey:8-alpine", "valkey/valkey:9-alpine")
MAILPIT = "axllent/mailpit:v1.27"
PULL_AND_START_S = 180.0
Run = Callable[..., DockerContainer]


@pytest.fixture
def run() -> Iterator[Run]:
    """Starts containers that end with the test; skips it where no Docker engine answers."""
    try:
        docker.from_env(timeout=2).ping()
    except (docker.errors.DockerException, OSError) as error:
        pytest.skip(f"no Docker engine answers: {error}")
    started: list[DockerContainer] = []

    def start(image: str, *ports: int, command: str = "") -> DockerContainer:
        container = DockerContainer(image).with_exposed_ports(*ports)
        if command:
            container = container.with_command(command)
        container.start()
        started.append(container)
        return container

    yield start
    for container in started:
        container.stop()


@dataclass(frozen=True, slots=True)
class Contained:
    """A server in a container, as far as the house looks at servers."""

    url: str

    def stop(self) -> None:
        """The fixture stops the container."""


class ContainerHouse(House):
    """The house on a server that is there already."""

    def __init__(self, folder: Path, redis_url: str, **env: str) -> None:
        self._url = redis_url
        super().__init__(folder, mailers=2, appendfsync="everysec", **env)

    def _start_server(self) -> EmbeddedServer:
        return Contained(self._url)  # type: ignore[return-value]


def redis_url(run: Run, image: str) -> str:
    """The address of a server with the append-only file on, once it answers."""
    binary = "valkey-server" if "valkey" in image else "redis-server"
    container = run(image, 6379, command=f"{binary} --appendonly yes --maxmemory-policy noeviction")
    url = f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"

    def answers() -> bool:
        try:
            with redis.Redis.from_url(url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    eventually_sync(answers, f"{image} to answer", PULL_AND_START_S)
    return url


@pytest.mark.parametrize("image", SERVERS)
async def test_the_main_job_is_done_exactly_once_on_this_server(image: str, run: Run, tmp_path: Path) -> None:
    with ContainerHouse(tmp_path / "house", redis_url(run, image)) as house:
        house.start()
        await house.add_subscribers(3)
        leads = await house.post_leads(50)
        await house.settled(leads)
        report = await house.verify(leads)
        assert report.accepted == 50
        assert not (report.lost or report.doubled or report.strangers or report.differences), str(report)


async def test_mailpit_the_inbox_of_development_gets_every_mail(run: Run, tmp_path: Path) -> None:
    mailpit = run(MAILPIT, 1025, 8025)
    mailpit_http = _mailpit_http(mailpit)
    smtp = f"smtp://{mailpit.get_container_host_ip()}:{mailpit.get_exposed_port(1025)}"
    with ContainerHouse(tmp_path / "house", redis_url(run, SERVERS[-1]), LEADSTREAM_SMTP_URL=smtp) as house:
        house.start()
        await house.add_subscribers(2)
        await house.post_leads(10)

        async def arrived() -> bool:
            return bool(_messages(mailpit_http)["total"] == 10 * 3)

        await eventually(arrived, "30 mails in Mailpit", 60.0)
        await eventually(house.nothing_pending, "nothing to be pending")


def _mailpit_http(container: DockerContainer) -> str:
    base = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(8025)}"
    eventually_sync(lambda: _answers(base), "Mailpit to answer", PULL_AND_START_S)
    return base


def _answers(base: str) -> bool:
    try:
        return bool(_messages(base))
    except OSError:
        return False


def _messages(base: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{base}/api/v1/messages?limit=1", timeout=5.0) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found

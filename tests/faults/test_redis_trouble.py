"""A whole house under leads while Redis is emptied, full, read-only, failed over or told to forget its scripts.

Every service resumes by itself, says what happened, and nothing that Redis still has is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events import keys
from tests.support.house import House
from tests.support.waiting import eventually, eventually_sync

OUTCOMES = keys.stream(0, keys.OUTCOMES)
BACK = ("redis takes work again", "redis takes outcomes again")  # whichever it was that met the trouble
CONSUMERS = ("fanout", "mailer", "projections")
LEADS = 8
pytestmark = pytest.mark.slow


def _house(folder: Path) -> House:
    return House(folder, LEADSTREAM_LEASE="2s", LEADSTREAM_RETRY_DELAYS="500ms", LEADSTREAM_RETRIES="50")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for every trouble; each test adds leads of its own."""
    with _house(tmp_path_factory.mktemp("house")) as made:
        made.start()
        yield made


@pytest.fixture
def server(house: House) -> Iterator[redis.Redis]:
    """A client of the house's server."""
    client = redis.Redis.from_url(house.server.url, protocol=2)
    yield client
    client.close()


class Trouble:
    """Leads before, during and after a trouble, and what the services said meanwhile."""

    accepted: ClassVar[dict[House, list[str]]] = {}

    def __init__(self, house: House) -> None:
        self.house = house
        self.leads = self.accepted.setdefault(house, [])
        self._said = {name: len(process.text()) for name, process in house.processes.items()}

    async def prepare(self) -> None:
        """Subscribers once, and leads that are under way when the trouble comes."""
        if not self.house.subscribers:
            await self.house.add_subscribers(2)
        await self.post()

    async def post(self) -> None:
        """Posts leads, each until it is taken."""
        first = len(self.leads)
        self.leads += await self.house.post_leads(LEADS, concurrency=4, first=first)

    async def told(self, text: str | tuple[str, ...], *names: str) -> None:
        """Waits until each service has said this, or one of these, since the trouble began."""
        texts = (text,) if isinstance(text, str) else text
        for name in names:

            async def says(name: str = name) -> bool:
                said = self.house.processes[name].text()[self._said[name] :]
                return any(each in said for each in texts)

            await eventually(says, f"{name} to say {text!r}")

    async def over(self) -> None:
        """Waits until everything is done; nothing may be lost, nothing doubled unmarked, and counters are exact."""
        await self.house.settled(self.leads)
        report = await self.house.verify(self.leads)
        assert not report.lost, report
        assert not report.unmarked, report
        assert not report.strangers, report
        assert not report.differences, report
        assert all(process.alive() for process in self.house.processes.values())


@pytest.fixture
def mended(server: redis.Redis) -> Iterator[None]:
    """Whatever a test did to the server is over for the next one, also when the test failed."""
    yield
    server.config_set("maxmemory", "0")
    server.replicaof("NO", "ONE")


@pytest.mark.usefixtures("mended")
async def test_a_read_only_redis_stops_the_work_and_nothing_else(house: House, server: redis.Redis) -> None:
    trouble = Trouble(house)
    await trouble.prepare()
    server.replicaof("127.0.0.1", 1)
    posting = asyncio.create_task(trouble.post())
    await trouble.told("cause=readonly", *CONSUMERS)
    server.replicaof("NO", "ONE")
    await trouble.told(BACK, *CONSUMERS)
    await posting
    await trouble.over()


@pytest.mark.usefixtures("mended")
async def test_a_full_redis_is_waited_for(house: House, server: redis.Redis) -> None:
    """Mails come up for their retry while Redis takes no write, and leads go to the spool."""
    house.inbox.post("/script", {"faults": [{"phase": "rcpt", "code": 450, "text": "4.2.0 later", "times": None}]})
    trouble = Trouble(house)
    outcomes = server.xlen(OUTCOMES)
    await trouble.prepare()

    async def deferred() -> bool:
        return bool(server.xlen(OUTCOMES) > outcomes)

    await eventually(deferred, "the mailer to have a mail to try again")
    server.config_set("maxmemory", "1")
    posting = asyncio.create_task(trouble.post())
    await trouble.told("out_of_memory", "api", "mailer")
    house.inbox.post("/script", {"faults": []})
    server.config_set("maxmemory", "0")
    await trouble.told(BACK, "mailer")
    await posting
    await trouble.over()


async def test_flushed_scripts_are_loaded_again(house: House, server: redis.Redis) -> None:
    trouble = Trouble(house)
    await trouble.prepare()
    posting = asyncio.create_task(trouble.post())
    server.script_flush()
    await posting
    await trouble.over()


async def test_a_replica_that_takes_over_has_everything_and_the_services_find_it(tmp_path: Path) -> None:
    """The replica is promoted and takes the address over, as behind a virtual IP or a service name."""
    with _house(tmp_path / "house") as house:
        house.start()
        trouble = Trouble(house)
        await trouble.prepare()
        port = int(house.server.url.rpartition(":")[2].partition("/")[0])
        follow = ["--replicaof", "127.0.0.1", str(port)]
        with (
            EmbeddedServer.start(tmp_path / "replica", port=0, extra=follow) as replica,
            redis.Redis.from_url(replica.url, protocol=2) as client,
            redis.Redis.from_url(house.server.url, protocol=2) as primary,
        ):
            eventually_sync(lambda: _follows(client), "the replica to be in step")
            await trouble.post()
            # Replication is asynchronous: with writes going on, the last ones would die with the primary.
            primary.client_pause(60_000, all=False)
            eventually_sync(lambda: _offset(client) >= _offset(primary), "the replica to have every write")
            house.server.kill()
            posting = asyncio.create_task(trouble.post())
            await trouble.told("cause=down", *CONSUMERS)
            client.replicaof("NO", "ONE")
            client.config_set("port", str(port))
            await posting
            await trouble.told(BACK, *CONSUMERS)
            await trouble.over()


def _offset(server: redis.Redis) -> int:
    """How far a primary has written, or a replica has read."""
    info: Any = server.info("replication")
    return int(info["master_repl_offset"] if info["role"] == "master" else info["slave_repl_offset"])


def _follows(replica: redis.Redis) -> bool:
    info: Any = replica.info("replication")
    return bool(info["master_link_status"] == "up")


async def test_an_emptied_redis_starts_anew(tmp_path: Path) -> None:
    """Subscribers are gone with everything else: a lead goes to those that were added since, and to nobody before."""
    with _house(tmp_path) as house:
        house.start()
        trouble = Trouble(house)
        await trouble.prepare()
        await trouble.over()
        with redis.Redis.from_url(house.server.url, protocol=2) as client:
            client.flushall()
        await trouble.told("group created", *CONSUMERS)
        house.inbox.post("/reset")
        house.subscribers.clear()
        trouble.leads.clear()
        await house.add_subscribers(1)
        trouble.leads += await house.post_leads(LEADS, concurrency=4, first=1000)
        await trouble.over()

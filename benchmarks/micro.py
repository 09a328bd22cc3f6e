"""CPU per operation of the parts that decide the speed: `python -m benchmarks.micro`.

Each figure is the median of several rounds against a private Valkey on a unix socket, in µs of this process's CPU; the
server's own CPU is beside it. Ratios hold better than the figures: every row that has a plainer way of doing the same
runs that way in the same round.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from redis.asyncio import Redis

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events import keys, scripts
from leadstream_events.effects import Settlement, commit_call, count, together
from leadstream_events.envelope import encode, make_event
from leadstream_events.ids import message_id, new_id
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client, connect
from leadstream_events.schemas.events import Kind, LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.writer import PipelinedWriter
from leadstream_mail.build import MailBuilder
from leadstream_mail.templates import Templates

ROUNDS = 5
GROUP, ME = "bench", "me"
LEAD = Lead.model_validate(
    {
        "full_name": "Ann Other",
        "email": "ann@example.com",
        "state": "CA",
        "vehicles": [{"year": 2020, "make": "Toyota", "model": "Corolla"}],
    }
)


def lead_event() -> tuple[str, dict[str, str]]:
    """A fresh lead's id and entry."""
    event = make_event(LeadReceived(lead=LEAD), subject=new_id(), now=datetime.now(UTC))
    return event.subject, encode(event)


async def server_cpu_s(client: Client) -> float:
    """CPU seconds that the server has used."""
    info = await client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def measure(client: Client, name: str, per: int, work: Callable[[], Awaitable[None]]) -> None:
    """Prints the median CPU per operation of `work`, which does `per` of them, here and at the server."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        server, own = await server_cpu_s(client), time.process_time()
        await work()
        ours.append((time.process_time() - own) / per * 1e6)
        theirs.append((await server_cpu_s(client) - server) / per * 1e6)
    print(f"{name:52} {statistics.median(ours):9.1f} {statistics.median(theirs):9.1f}")


async def commands(client: Client) -> None:
    """One command, and ten in a pipeline, as redis-py alone does them and as every service does."""
    plain = Redis.from_url(
        f"unix://{client.connection_pool.connection_kwargs['path']}", protocol=2, socket_timeout=30.0
    )
    for name, which in (("redis-py alone", plain), ("as services do", client)):

        async def singly(which: Client = which) -> None:
            for _ in range(2_000):
                await which.hget("key", "field")

        async def by_ten(which: Client = which) -> None:
            for _ in range(200):
                async with which.pipeline(transaction=False) as pipe:
                    for _ in range(10):
                        pipe.hget("key", "field")
                    await pipe.execute()

        await measure(client, f"HGET, {name}", 2_000, singly)
        await measure(client, f"pipeline of 10 HGET, {name}", 200, by_ten)
    await plain.aclose()


async def appends(client: Client) -> None:
    """XADD one by one, against the append verb one by one and by 64 callers at once."""
    stream = keys.stream(0, "bench")
    async with PipelinedWriter(client) as writer:
        log = StreamLog(client, writer, partitions=1, deadline_s=5.0)

        async def plain() -> None:
            for _ in range(500):
                await client.xadd(stream, lead_event()[1])

        async def one() -> None:
            event = make_event(LeadReceived(lead=LEAD), subject=new_id(), now=datetime.now(UTC))
            await log.append_lead(event, "f")

        async def singly() -> None:
            for _ in range(500):
                await one()

        async def together_64() -> None:
            for _ in range(32):
                await asyncio.gather(*(one() for _ in range(64)))

        await measure(client, "XADD, one by one (no idempotency)", 500, plain)
        await measure(client, "append, one by one", 500, singly)
        await measure(client, "append, 64 callers at once", 32 * 64, together_64)


async def read(client: Client, stream: str, number: int) -> list[str]:
    """Appends entries and hands them to the group."""
    async with client.pipeline(transaction=False) as pipe:
        for _ in range(number):
            pipe.xadd(stream, {"n": "1"})
        await pipe.execute()
    reply = await client.xreadgroup(GROUP, ME, {stream: ">"}, count=number)
    return [entry_id.decode() for entry_id, _ in reply[0][1]]


async def commits(client: Client) -> None:
    """XACK and HINCRBY one by one, against the commit verb in batches, entry by entry and by sums."""
    stream, counters = keys.stream(0, "commits"), "leadstream:{0}:bench:counters"
    await client.xgroup_create(stream, GROUP, "0", mkstream=True)

    async def commit(settlements: list[Settlement]) -> None:
        names, args = commit_call(GROUP, ME, keys.checkpoints(0), settlements)
        await scripts.run(client, scripts.COMMIT, names, args)

    async def plain() -> None:
        for entry_id in await read(client, stream, 200):
            await client.xack(stream, GROUP, entry_id)
            await client.hincrby(counters, "sent", 1)

    async def each() -> None:
        ids = await read(client, stream, 200)
        await commit([Settlement(stream, entry_id, (count(counters, "sent"),)) for entry_id in ids])

    async def sums() -> None:
        ids = await read(client, stream, 200)
        await commit([together(stream, ids, [count(counters, "sent", len(ids))])])

    await measure(client, "XREADGROUP, XACK + HINCRBY one by one", 200, plain)
    await measure(client, "XREADGROUP, commit of 200 entries", 200, each)
    await measure(client, "XREADGROUP, commit of 200 entries by their sums", 200, sums)


async def begins(client: Client) -> None:
    """The ledger verb for 1 mail and for 32 at once."""

    async def begin(number: int) -> None:
        args: list[str | int] = ["owner", 4, 60_000]
        ledger = keys.ledger(0, new_id())
        for _ in range(number):
            args += [1, new_id(), "1-1", 0]
        await scripts.run(client, scripts.BEGIN, [ledger], args)

    async def singly() -> None:
        for _ in range(300):
            await begin(1)

    async def by_32() -> None:
        for _ in range(30):
            await begin(32)

    await measure(client, "begin, mail by mail", 300, singly)
    await measure(client, "begin, 32 mails at once", 30 * 32, by_32)


async def mails(client: Client) -> None:
    """Building a lead's mail, and one more recipient of it."""
    builder = MailBuilder(Templates.load(None), "leads@example.com", "http://127.0.0.1:8000")
    now = datetime.now(UTC)
    prepared = builder.build(Kind.NOTIFICATION, new_id(), LEAD, now)
    mid = message_id(new_id(), "leads@example.com")

    async def build() -> None:
        for _ in range(200):
            builder.build(Kind.NOTIFICATION, new_id(), LEAD, now)

    async def splice() -> None:
        for _ in range(5_000):
            prepared.for_recipient(name="Ann", address="ann@example.com", message_id=mid, date=now)

    await measure(client, "build a lead's notification", 200, build)
    await measure(client, "one more recipient of it", 5_000, splice)


async def run() -> None:
    """Runs every row."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder)) as server:
        client = connect(server.url, timeout_s=30.0)
        print(f"{'operation':52} {'µs here':>9} {'µs Redis':>9}")
        for part in (commands, appends, commits, begins, mails):
            await part(client)
        await client.aclose()


if __name__ == "__main__":
    uvloop.run(run())

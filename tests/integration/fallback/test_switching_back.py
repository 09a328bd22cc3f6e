"""What happens right after an outage: fan-out holds back, and the shared limit learns what was sent meanwhile."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from leadstream_api.fallback import verdict
from leadstream_api.fallback.limiter import LocalLimiter
from leadstream_api.fallback.merging import Merger
from leadstream_api.fallback.rows import now_ms
from leadstream_api.fallback.spool import Spool
from leadstream_events import keys
from leadstream_events.limits import DomainRates, Rate
from leadstream_events.log import StreamLog
from leadstream_events.recipients import candidates
from leadstream_events.redis_client import Client, connect
from leadstream_events.runtime.source import GroupSource
from leadstream_events.settings import Settings
from leadstream_events.writer import PipelinedWriter
from leadstream_mailer.bounds import Care
from leadstream_mailer.limiter import Limiter, Token, Wait
from tests.integration.fallback.test_spool_and_merge import DANA, NOW, SUBSCRIBER, spooled
from tests.integration.runtime.harness import LONG_LEASE, running
from tests.support.entries import add_lead
from tests.support.ports import free_port
from tests.support.redis_server import ServerFactory

GRACE_S = 1.5


def when_redis_answers(source: GroupSource) -> list[float]:
    """Fills with the moments at which the consumer itself finds Redis there: it may know before the test does."""
    found_s: list[float] = []
    ensure = source.ensure_groups

    async def noted() -> list[str]:
        created = await ensure()
        found_s.append(time.monotonic())
        return created

    source.ensure_groups = noted  # type: ignore[method-assign]
    return found_s


async def test_a_group_with_a_grace_reads_only_after_it_when_redis_was_away(fresh_server: ServerFactory) -> None:
    port = free_port()
    server = fresh_server(appendfsync="always", port=port)
    client = connect(server.url, timeout_s=5.0)
    async with running(server.url, policy=replace(LONG_LEASE, resume_grace_s=GRACE_S)) as me:
        await add_lead(client)
        await me.hooks.until(lambda: me.hooks.counts["read:new"] == 1)
        server.kill()
        await me.hooks.until(lambda: me.hooks.counts["trouble:down"])
        found_s = when_redis_answers(me.consumer.source)
        again = await asyncio.to_thread(fresh_server, server.data_dir, appendfsync="always", port=port)
        assert again.url == server.url
        await client.connection_pool.disconnect()
        await add_lead(client)
        await me.hooks.until(lambda: me.hooks.counts["read:new"] == 2)
        assert time.monotonic() - found_s[0] >= GRACE_S * 0.9
    await client.aclose()


async def test_sends_of_the_outage_count_in_the_window_of_all_workers(settings: Settings, raw: Client) -> None:
    rate, spool = Rate(3, 60_000), Spool(settings.data_dir)
    limits = DomainRates({"example.com": Rate(2, 60_000)})
    client = connect(settings.redis_url, timeout_s=5.0)
    spool.database.start()
    lead = spooled()
    async with PipelinedWriter(client) as writer:
        log = StreamLog(client, writer, partitions=1, deadline_s=2.0)
        merger = Merger(client, log, writer, spool, LocalLimiter(rate, limits))
        [candidate] = candidates(lead.lead_id, DANA, [SUBSCRIBER], welcome=False)
        mail = verdict.requested(lead, candidate, SUBSCRIBER.name, NOW)
        for number in range(2):
            await spool.write(mail, start=(now_ms(), mail.address, f"fallback:{number}"))
        await spool.write(mail, start=(now_ms() - 120_000, mail.address, "fallback:old"))
        await merger.prepare()
        await merger.prepare()
    assert await raw.zcard(keys.LIMITS + "*") == 2
    asked = ["a@example.org", "b@example.org", "c@example.com"]
    first, second, third = await Limiter(client, Care(rate, limits)).take(asked, 0)
    assert isinstance(first, Token)
    assert isinstance(second, Wait) and not second.of_domain
    assert isinstance(third, Wait) and third.seconds > 50
    await spool.database.close()
    await client.aclose()


async def test_sends_of_the_outage_are_forgotten_where_nothing_is_limited(settings: Settings, raw: Client) -> None:
    spool, client = Spool(settings.data_dir), connect(settings.redis_url, timeout_s=5.0)
    spool.database.start()
    lead = spooled()
    async with PipelinedWriter(client) as writer:
        log = StreamLog(client, writer, partitions=1, deadline_s=2.0)
        [candidate] = candidates(lead.lead_id, DANA, [SUBSCRIBER], welcome=False)
        mail = verdict.requested(lead, candidate, SUBSCRIBER.name, NOW)
        await spool.write(mail, start=(now_ms() - 1, "@", "fallback:0"))
        await Merger(client, log, writer, spool, LocalLimiter(None, DomainRates())).prepare()
    assert await spool.starts(0) == []
    await spool.database.close()
    await client.aclose()

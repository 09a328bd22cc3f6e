"""Areas C and D of docs/cases.md, on the whole path, where no test of the runtime or of the faults shows it already."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from leadstream_events import keys
from leadstream_events.ledger import State
from leadstream_events.limits import Rate
from leadstream_events.redis_client import connect
from leadstream_events.schemas.events import EmailDeferred, EmailSent, EmailSkipped, EntryDeadLettered
from leadstream_events.settings import Settings
from tests.cases.pipeline import LEAD, Pipeline, pipeline
from tests.integration.api.conftest import api_client
from tests.support.redis_proxy import Fault as RedisFault
from tests.support.redis_proxy import RedisProxy
from tests.support.redis_server import ServerFactory
from tests.support.smtp_server import Fault, Moment, Reply, Script
from tests.support.waiting import eventually

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """No welcome mail."""
    return settings.model_copy(update={"welcome": False})


async def skipped(house: Pipeline) -> dict[str, str]:
    """Subscriber id to why he was skipped."""
    found = [outcome for outcome in await house.outcomes() if isinstance(outcome, EmailSkipped)]
    return {str(outcome.subscriber_id): outcome.reason for outcome in found}


async def test_a_group_that_nobody_serves_is_shown_with_all_that_it_has_not_read(quick: Settings) -> None:
    """Case 078: what will hold trimming back is visible by name."""
    async with pipeline(quick) as house:
        for _ in range(5):
            await house.lead()
        await house.settled()
        stream = keys.stream(0, keys.LEADS)
        await house.client.xgroup_create(stream, "forgotten", "0")
        shown = {item["stream"]: item for item in (await house.api.get("/streams")).json()["items"]}[stream]
        lags = {group["group"]: group["lag"] for group in shown["groups"]}
        assert (lags["forgotten"], lags[keys.FANOUT]) == (5, 0)
        assert shown["length"] == 5


async def test_a_server_that_cannot_write_is_named_by_readiness_and_the_spool_takes_leads(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    """Case 091, the API's side: MISCONF is no other than Redis being away."""
    server = fresh_server()
    settings = Settings(redis_url=server.url, data_dir=tmp_path / "data", welcome=False)
    blocker = server.data_dir / "dump.rdb"
    client = connect(server.url, timeout_s=5.0)
    try:
        blocker.unlink(missing_ok=True)
        blocker.mkdir()
        await client.config_set("stop-writes-on-bgsave-error", "yes")
        await client.config_set("save", "3600 1")
        await client.bgsave()

        async def failed() -> bool:
            return bool((await client.info("persistence"))["rdb_last_bgsave_status"] == "err")

        await eventually(failed, "the snapshot to fail")
        async with api_client(settings) as api:
            answer = await api.post("/leads", json=LEAD)
            assert (answer.status_code, answer.json()["mode"]) == (202, "fallback")
            checks = (await api.get("/health/ready")).json()["checks"]
            assert checks["redis"]["cause"] == "misconf"
            blocker.rmdir()
            await client.config_set("stop-writes-on-bgsave-error", "no")

            async def merged() -> bool:
                return bool(await client.xlen(keys.stream(0, keys.LEADS)) == 1)

            await eventually(merged, "the spool to be merged")
    finally:
        await client.aclose()


@pytest.mark.parametrize("fault", [RedisFault.DROP_REPLY, RedisFault.CUT_REPLY])
async def test_a_lead_that_was_stored_without_an_answer_is_mailed_once_by_whoever_is_first(
    quick: Settings, fault: RedisFault
) -> None:
    """Case 111: the API falls back while a worker reads the stored entry."""
    async with RedisProxy(quick.redis_url) as proxy, pipeline(quick, api_redis_url=proxy.url) as house:

        async def merged() -> bool:
            checks = (await house.api.get("/health/ready")).json()["checks"]
            return bool(checks["redis"]["status"] == "ok" and not checks["spool"]["leads"])

        await house.subscribers(3)
        await house.lead()
        await house.smtp.wait_for(3)
        await eventually(merged, "the API to see Redis")
        lost = proxy.on(fault, b"EVALSHA", TRACE.encode())  # the lead itself is sealed
        lead = LEAD | {"email": "second@example.com"}
        answer = await house.api.post("/leads", json=lead, headers={"traceparent": TRACE})
        assert (answer.status_code, lost.struck) == (202, 1)
        await house.smtp.wait_for(6)
        await eventually(merged, "the spool to be merged")
        await house.settled()
        assert dict(house.smtp.recipients) == {f"s{number}@example.com": 2 for number in (1, 2, 3)}
        assert set(house.smtp.message_ids.values()) == {1}
        assert await house.client.xlen(keys.stream(0, keys.LEADS)) == 2


async def test_a_delay_far_beyond_the_lease_leads_to_one_second_attempt_by_one_worker(quick: Settings) -> None:
    """Case 118: a deferred mail is parked, so that no lease runs out on it."""
    slow = quick.model_copy(update={"lease": 3.0, "retry_delays": (9.0,)})
    script = Script(faults=[Fault("rcpt", Reply(451, "4.3.0 later"))])
    async with pipeline(slow, script, mailers=3) as house:
        await house.subscriber()
        await house.lead()
        await house.settled()
        first, second = await house.outcomes()
        assert isinstance(first, EmailDeferred) and isinstance(second, EmailSent)
        assert (first.attempt, second.attempt) == (1, 2)
        assert house.smtp.count == 1
        assert house.smtp.commands().count(b"RCPT") == 2
        late_s = house.smtp.mails[0].wall_s - first.next_attempt_at.timestamp()
        assert 0 <= late_s < 10


async def test_eight_workers_send_a_thousand_mails_once_each(quick: Settings) -> None:
    """Case 119."""
    chance = random.Random(119)

    def decide(moment: Moment) -> Reply | None:
        return Reply(250, "2.0.0 queued", delay_s=chance.random() * 0.04) if moment.phase == "body" else None

    async with pipeline(quick, Script(decide=decide), mailers=8) as house:
        await house.subscribers(20)
        await asyncio.gather(*(house.lead() for _ in range(50)))
        await house.smtp.wait_for(1_000, 60)
        await house.settled()
        assert len(house.smtp.message_ids) == house.smtp.count == 1_000


async def test_entries_that_nobody_can_read_are_dead_letters_and_the_lead_behind_them_is_mailed(
    quick: Settings,
) -> None:
    """Case 123, in both streams that lead to a mail."""
    broken: list[dict[bytes, bytes]] = [{b"data": b"\xff\xfe\x00"}, {b"\xff": b"1"}, {b"foo": b"bar"}]
    async with pipeline(quick) as house:
        await house.subscriber()
        for name in (keys.LEADS, keys.EMAILS):
            for fields in broken:
                await house.client.xadd(keys.stream(0, name), fields)
        await house.lead()
        await house.settled()
        assert dict(house.smtp.recipients) == {"s1@example.com": 1}
        letters = [letter for letter in await house.events(keys.DEAD) if isinstance(letter, EntryDeadLettered)]
        assert len(letters) == 6
        assert {letter.cause for letter in letters} == {"missing_field"}
        assert (await house.api.get("/dead-letters")).status_code == 200


async def test_reading_everything_again_sends_nothing_and_counts_nothing(quick: Settings) -> None:
    """Case 124: the groups that make mails are set back to the beginning."""
    async with pipeline(quick) as house:
        await house.subscribers(3)
        for _ in range(10):
            await house.lead()
        await house.settled()
        connections, outcomes = house.smtp.connections, len(await house.outcomes())
        usage = (await house.api.get("/subscribers")).json()
        await house.seek(keys.LEADS, keys.FANOUT)
        await house.settled()
        await house.seek(keys.EMAILS, keys.MAILER)
        await house.seek(keys.OUTCOMES, keys.QUOTA)
        await house.settled()
        assert (house.smtp.count, house.smtp.connections, len(await house.outcomes())) == (30, connections, outcomes)
        assert await house.client.xlen(keys.stream(0, keys.EMAILS)) == 30
        assert (await house.api.get("/subscribers")).json() == usage


async def test_who_leaves_or_is_suppressed_while_mails_wait_gets_none_and_who_comes_later_neither(
    quick: Settings,
) -> None:
    """Case 128: decided anew when a mail's turn comes."""
    limited = quick.model_copy(update={"rate_limit": Rate(2, 4_000)})  # far longer than the three changes take
    async with pipeline(limited) as house:
        ids = await house.subscribers(6)
        lead_id = await house.lead()
        await house.smtp.wait_for(2)
        waiting = [number for number in range(1, 7) if not house.to(f"s{number}@example.com")]
        off, suppressed, gone = waiting[-3:]
        await house.api.patch(f"/subscribers/{ids[off - 1]}", json={"active": False})
        await house.api.post("/suppressions", json={"address": f"S{suppressed}@EXAMPLE.com"})
        await house.api.delete(f"/subscribers/{ids[gone - 1]}")
        await house.subscriber("late@example.com", "Late")
        await house.settled()
        assert await skipped(house) == {
            ids[off - 1]: "inactive",
            ids[suppressed - 1]: "suppressed",
            ids[gone - 1]: "removed",
        }
        assert house.smtp.count == 3
        assert not house.to("late@example.com")
        states = sorted(row.state for row in (await house.rows(lead_id)).values())
        assert states == sorted([State.SENT] * 3 + [State.SKIPPED] * 3)

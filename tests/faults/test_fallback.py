"""Redis away under load: every lead is taken, its mails go out meanwhile, and afterwards the counters equal the inbox.

Full size: `python -m tests.faults.outage --seconds 60 --rate 20 --how stop|kill|freeze|kill-api`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from leadstream_events import keys
from leadstream_events.envelope import decode
from leadstream_events.redis_client import connect
from leadstream_events.schemas.events import EmailOutcomeUnknown, EmailSent
from tests.faults import outage
from tests.support.house import House
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.spool_facts import in_spool, known_to_the_fallback
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

AWAY_S = 4.0


@asynccontextmanager
async def started(tmp_path: Path, **env: str) -> AsyncIterator[House]:
    with House(tmp_path / "house", mailers=1, appendfsync="always", **env) as house:
        await asyncio.to_thread(house.start)
        yield house


@pytest.mark.parametrize("how", outage.HOWS)
async def test_leads_are_taken_and_mailed_while_redis_is_away_and_counted_afterwards(tmp_path: Path, how: str) -> None:
    async with started(tmp_path) as house:
        result = await outage.run(house, how, seconds=AWAY_S, rate=10.0)
    print(result)
    assert result.good, str(result)
    # A server that stood still may have stored a lead that the API has mailed meanwhile (decision 0007): marked, then.
    assert how == outage.FREEZE or result.report.doubled == []
    assert result.answers.modes["fallback"] > 20
    # Nobody waits for Redis to come back; a few may meet a busy disk.
    assert result.answers.percentile_s(0.8) < AWAY_S / 2


async def test_two_api_processes_on_one_spool_send_and_merge_each_lead_once(tmp_path: Path) -> None:
    async with started(tmp_path) as house:
        await house.add_subscribers(2)
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        second = ServiceProcess(
            ["api", "--port", str(port)],
            env=house.env,
            output=tmp_path / "second.log",
            ready_url=f"{base}/health/live",
        )
        with second:
            leads = await post_to(house.base, 0, 3)
            await eventually(lambda: arrived(house, 9), "mails by the stream path")
            house.server.kill()
            posted = await asyncio.gather(post_to(house.base, 100, 20), post_to(base, 200, 20))
            leads += [lead for part in posted for lead in part]
            await eventually(lambda: arrived(house, 9 + 40 * 3), "mails while redis is away")
            # The inbox has a mail before the API has its answer; one that is killed in between sends it once more.
            await eventually(lambda: sent_in_spool(house, 40 * 3), "every answer to be on disk")
            house.processes["api"].kill()
            leads += await post_to(base, 300, 5)
            await eventually(lambda: arrived(house, 9 + 45 * 3), "the other process to take over")
            house.start_server()
            await asyncio.to_thread(house.processes["api"].start)
            await eventually(lambda: outage.merged(house), "the spool to be merged")
            await house.settled(leads)
            report = await house.verify(leads)
    assert (report.lost, report.doubled, report.strangers, report.differences) == ([], [], [], [])


async def test_a_refused_recipient_is_retried_alone_and_a_repeated_key_sends_nothing(tmp_path: Path) -> None:
    """docs/cases.md, case 113: the second of three subscribers gets a 451 while Redis is down."""
    async with started(tmp_path, LEADSTREAM_RETRY_DELAYS="1s") as house:
        await house.add_subscribers(3)
        await asyncio.to_thread(
            house.inbox.post,
            "/script",
            {"faults": [{"phase": "rcpt", "code": 451, "text": "4.2.0 later", "argument": "s1@", "times": 1}]},
        )
        await eventually(lambda: looked(house), "the API to know the subscribers")
        house.server.kill()
        [lead] = await post_to(house.base, 1, 1)
        await eventually(lambda: arrived(house, 3), "the other mails")
        assert await post_to(house.base, 1, 1) == [lead]
        await eventually(lambda: arrived(house, 4), "the retry, still without redis")
        house.start_server()
        await eventually(lambda: outage.merged(house), "the spool to be merged")
        await house.settled([lead])
        report = await house.verify([lead])
        outcomes = Counter(type(data).__name__ for data in await outcomes_of(house))
    assert (report.lost, report.doubled, report.strangers, report.differences) == ([], [], [], [])
    assert outcomes == {"EmailSent": 4, "EmailDeferred": 1}


async def test_an_api_killed_while_a_mail_is_being_answered_marks_the_second_copy(tmp_path: Path) -> None:
    async with started(tmp_path) as house:
        await house.add_subscribers(1)
        await eventually(lambda: looked(house), "the API to know the subscriber")
        house.server.kill()
        await asyncio.to_thread(slow_answers, house, 30.0, 2)
        [lead] = await post_to(house.base, 1, 1)
        await eventually(lambda: arrived(house, 2), "the mails whose answers will be lost")
        await asyncio.to_thread(house.processes["api"].restart)
        await eventually(lambda: arrived(house, 4), "the same mails once more, still without redis")
        house.start_server()
        await eventually(lambda: outage.merged(house), "the spool to be merged")
        await house.settled([lead])
        report = await house.verify([lead])
        outcomes = await outcomes_of(house)
    assert (report.lost, report.unmarked, report.differences) == ([], [], [])
    assert len(report.doubled) == 2
    assert [data.policy for data in outcomes if isinstance(data, EmailOutcomeUnknown)] == ["resend"] * 2
    assert [data.after_unknown for data in outcomes if isinstance(data, EmailSent)] == [True] * 2


async def test_a_mailer_that_dies_with_redis_right_after_the_250_sends_no_second_copy(tmp_path: Path) -> None:
    """docs/cases.md, case 110, with Redis gone as well."""
    async with started(tmp_path, LEADSTREAM_LEASE="60s") as house:
        await house.add_subscribers(1)
        # Long enough for both mails to be taken, and Redis to be gone, before the first is answered.
        await asyncio.to_thread(slow_answers, house, 5.0, 2)
        [lead] = await post_to(house.base, 1, 1)
        await eventually(lambda: arrived(house, 2), "the mails to be taken, their 250 still to come")
        house.server.kill()
        await eventually(lambda: kept(house, 2), "the mailer to keep what it was told")
        house.processes["mailer"].kill()
        dead = list((house.folder / "data").glob("unsettled-*.db"))
        house.start_server()
        await asyncio.to_thread(house.processes["mailer"].start)
        await eventually(lambda: outage.merged(house), "the spool to be merged")
        await house.settled([lead])
        report = await house.verify([lead])
        outcomes = await outcomes_of(house)
        left = [path for path in dead if path.exists()]  # the living one may have a file of its own
    assert (report.lost, report.doubled, report.differences) == ([], [], [])
    assert [type(data) for data in outcomes] == [EmailSent] * 2
    assert dead and not left


async def post_to(base: str, first: int, count: int) -> list[str]:
    """Posts leads one after the other; each must be taken."""
    ids = []
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=10.0) as client:
        for number in range(first, first + count):
            lead = {"full_name": f"Visitor {number}", "email": f"v{number}@example.com"}
            answer = await client.post("/leads", json=lead, headers={"Idempotency-Key": f"lead-{number}"})
            assert answer.status_code == 202, answer.text
            ids.append(str(answer.json()["lead_id"]))
    return ids


async def arrived(house: House, count: int) -> bool:
    return int((await asyncio.to_thread(house.inbox.get, "/stats"))["mails"]) >= count


async def looked(house: House) -> bool:
    """True when the API could mail the house's subscribers without Redis."""
    return known_to_the_fallback(house.folder / "data", house.subscribers)


async def sent_in_spool(house: House, count: int) -> bool:
    """True when the spool knows of this many mails that their server has taken them."""
    return in_spool(house.folder / "data", "SELECT COUNT(*) FROM mails WHERE state = 'sent'") == [(count,)]


async def kept(house: House, count: int) -> bool:
    """True when a mailer has this many settlements on disk."""
    for path in (house.folder / "data").glob("unsettled-*.db"):
        with contextlib.closing(sqlite3.connect(path)) as database, contextlib.suppress(sqlite3.Error):
            if database.execute("SELECT COUNT(*) FROM settlements").fetchone()[0] >= count:
                return True
    return False


def slow_answers(house: House, seconds: float, times: int) -> None:
    """The next mails are taken at once and answered late."""
    fault = {"phase": "body", "code": 250, "text": "2.0.0 ok", "delay_s": seconds, "times": times}
    house.inbox.post("/script", {"faults": [fault]})


async def outcomes_of(house: House) -> list[object]:
    client = connect(house.server.url, timeout_s=5.0)
    try:
        entries = await client.xrange(keys.stream(0, keys.OUTCOMES))
    finally:
        await client.aclose()
    return [decode(fields).data for _, fields in entries]

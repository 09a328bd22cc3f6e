"""Cases 077 and 078: what every group has finished is trimmed, nothing else ever, and who holds it back is named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from leadstream_cli.main import run
from leadstream_events import keys
from leadstream_events.groups import working_on
from leadstream_events.retention import Retained, retain
from leadstream_events.settings import Settings
from leadstream_projections.maintenance import Maintenance
from tests.cases.pipeline import LEAD, Pipeline, pipeline
from tests.integration.projections.running import projecting
from tests.integration.projections.scan import GROUPS, all_finished
from tests.support.process import ServiceProcess
from tests.support.smtp_server import Fault, Reply, Script
from tests.support.waiting import eventually

STREAMS = (keys.LEADS, keys.EMAILS, keys.OUTCOMES)
WORKING = {stream: working_on(stream) for stream in STREAMS}


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"welcome": False})


@asynccontextmanager
async def counted_house(settings: Settings, script: Script | None = None) -> AsyncIterator[Pipeline]:
    """The whole path with projections."""
    async with pipeline(settings, script) as house, projecting(settings):
        yield house


async def finished(house: Pipeline) -> None:
    """Returns once every group has finished everything."""
    await house.settled()
    await eventually(lambda: all_finished(house.client, GROUPS), "every projection to finish")


async def lengths(house: Pipeline) -> dict[str, int]:
    return {name: int(await house.client.xlen(keys.stream(0, name))) for name in STREAMS}


async def everything_old_goes(house: Pipeline) -> Retained:
    """Retention with nothing to wait for: every entry counts as old."""
    return await retain(house.client, 1, 0.0, WORKING)


async def all_read(house: Pipeline) -> bool:
    """True when every group was handed every entry; what it has not finished of them is pending."""
    for name in STREAMS:
        key = keys.stream(0, name)
        last = (await house.client.xinfo_stream(key))["last-generated-id"]
        if any(group["last-delivered-id"] != last for group in await house.client.xinfo_groups(key)):
            return False
    return True


async def pending(house: Pipeline, stream: str) -> list[bytes]:
    """Entries of a stream that some group has not finished, which must all be stored."""
    key = keys.stream(0, stream)
    found = []
    for group in await house.client.xinfo_groups(key):
        page = await house.client.xpending_range(key, group["name"], "-", "+", 1_000)
        found += [item["message_id"] for item in page]
    return found


async def test_what_is_pending_stays_and_all_else_goes_over_three_rounds(quick: Settings) -> None:
    """Case 077, and no pending entry goes: one mail waits for its retry all the while."""
    script = Script(faults=[Fault("rcpt", Reply(451, "4.3.0 later"), argument=b"s1@", times=1)])
    patient = quick.model_copy(update={"retry_delays": (3_600.0,)})
    async with counted_house(patient, script) as house:
        await house.subscribers(1)
        waiting = await house.lead(email="waits@example.com")
        await eventually(house.outcomes, "the mail to be put off")
        for number in range(3):
            await asyncio.gather(*(house.lead(email=f"v{number}-{n}@example.com") for n in range(100)))
            await house.smtp.wait_for(100 * (number + 1), 60)

            told = 101 if number == 0 else 100  # the first round tells of the deferral as well

            async def all_but_one(told: int = told) -> bool:
                read = await all_read(house)
                counts = [len(await pending(house, stream)) for stream in STREAMS]
                outcomes = await house.client.xlen(keys.stream(0, keys.OUTCOMES))
                return counts == [0, 1, 0] and outcomes == told and read

            await eventually(all_but_one, "everything but one mail to be finished")
            await eventually(lambda: all_finished(house.client, GROUPS), "every projection to finish")
            before = await lengths(house)
            done = await everything_old_goes(house)
            after = await lengths(house)
            assert before[keys.OUTCOMES] == told and after[keys.OUTCOMES] == 0
            assert {keep.stream for keep in done.kept} == {keys.EMAILS, keys.LEADS}
            for stream in STREAMS:
                for entry in await pending(house, stream):
                    assert await house.client.xrange(keys.stream(0, stream), entry, entry)
            assert await house.rows(waiting)
        assert (await house.client.xrange(keys.stream(0, keys.LEADS), count=1))[0][1][b"subject"] == waiting.encode()


async def test_finished_leads_go_with_their_ledgers_and_memory_is_flat_over_three_rounds(quick: Settings) -> None:
    """Case 077."""
    async with counted_house(quick) as house:
        who = await house.subscriber()
        memory = []
        for number in range(4):
            await asyncio.gather(*(house.lead(email=f"v{number}-{n}@example.com") for n in range(150)))
            await house.smtp.wait_for(150 * (number + 1), 60)
            await finished(house)
            await everything_old_goes(house)
            assert await lengths(house) == dict.fromkeys(STREAMS, 0)
            assert not [key async for key in house.client.scan_iter("*:ledger:*")]
            assert not [key async for key in house.client.scan_iter("*:p:leads:*")]
            memory.append(int((await house.client.info("memory"))["used_memory"]))
        # Buffers of connections come and go; what 150 leads leave behind would be more than this a round.
        assert max(memory[1:]) < 1.05 * memory[0], memory
        assert int((await house.client.hgetall(keys.projection(0, "totals", 1)))[b"sent"]) == 600
        usage = {item["id"]: item["leads_sent"] for item in (await house.api.get("/subscribers")).json()["items"]}
        assert usage == {who: 600}


async def test_a_lead_stays_while_a_request_of_it_does_so_that_a_mailer_set_back_sends_nothing_again(
    quick: Settings,
) -> None:
    async with counted_house(quick) as house:
        await house.subscriber()
        for _ in range(5):
            await house.lead()
        await finished(house)
        await house.client.xgroup_create(keys.stream(0, keys.EMAILS), "forgotten", "0")
        done = await everything_old_goes(house)
        assert await lengths(house) == {keys.LEADS: 5, keys.EMAILS: 5, keys.OUTCOMES: 0}
        assert [(keep.stream, keep.group) for keep in done.kept] == [(keys.EMAILS, "forgotten")]
        await house.seek(keys.EMAILS, keys.MAILER)
        await house.seek(keys.LEADS, keys.FANOUT)
        await house.settled()
        assert house.smtp.count == 5


async def test_the_lead_of_a_dead_letter_stays_until_the_letter_is_closed(quick: Settings) -> None:
    script = Script(faults=[Fault("rcpt", Reply(550, "5.1.1 no such user"), argument=b"s1@", times=1)])
    async with counted_house(quick, script) as house:
        await house.subscriber()
        lead = await house.lead()
        await house.lead()
        await finished(house)
        assert await house.client.xlen(keys.stream(0, keys.DEAD)) == 1
        done = await everything_old_goes(house)
        assert {keep.blocked_by for keep in done.kept} == {"a dead letter"}
        assert (await lengths(house))[keys.LEADS] == 2
        assert await house.rows(lead)


async def test_a_forgotten_group_is_named_with_its_lag_and_trimming_goes_on_once_it_is_removed(
    quick: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 078."""
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", quick.redis_url)
    monkeypatch.setenv("LEADSTREAM_RETAIN", "1h")
    monkeypatch.chdir(tmp_path)

    async def cli(*args: str) -> tuple[int, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(run, args)
        return code, capsys.readouterr().out

    async with counted_house(quick) as house:
        await house.subscriber()
        await asyncio.gather(*(house.lead() for _ in range(20)))
        await finished(house)
        await house.client.xgroup_create(keys.stream(0, keys.LEADS), "forgotten", "0")
        maintenance = Maintenance(house.client, partitions=1, retain_s=0.0, name="a")
        done = await maintenance.run()
        assert done is not None
        assert [(keep.stream, keep.group, keep.entries) for keep in done.kept] == [(keys.LEADS, "forgotten", 20)]
        assert (await lengths(house))[keys.LEADS] == 20
        assert await maintenance.run() is None  # the turn is taken until it ends

        rows = json.loads((await cli("groups", "--json"))[1])
        (row,) = [row for row in rows if row["note"]]
        assert (row["group"], row["lag"]) == ("forgotten", 20)
        found = {item["check"]: item for item in json.loads((await cli("doctor", "--json"))[1])}
        assert "forgotten (lag 20)" in found["retention"]["found"]
        assert found["retention"]["mend"].endswith("leadstream groups remove forgotten")

        assert (await cli("groups", "remove", keys.FANOUT, "--yes"))[0] == 2
        assert (await cli("groups", "remove", "forgotten", "--yes", "--reason", "a test"))[0] == 0
        assert (await cli("groups", "remove", "forgotten", "--yes"))[0] == 1
        assert "GroupRemoved" in (await cli("operations"))[1]
        assert (await everything_old_goes(house)).kept == ()
        assert (await lengths(house))[keys.LEADS] == 0


async def test_a_group_with_a_living_consumer_is_not_removed(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", quick.redis_url)
    async with pipeline(quick) as house:
        await house.lead()
        stream = keys.stream(0, keys.LEADS)
        await house.client.xgroup_create(stream, "theirs", "0")
        await house.client.xreadgroup("theirs", "somebody", {stream: ">"}, count=1)
        assert await asyncio.to_thread(run, ("groups", "remove", "theirs", "--yes")) == 1
        assert b"theirs" in {group["name"] for group in await house.client.xinfo_groups(stream)}


async def test_nothing_goes_while_a_projection_is_being_rebuilt(quick: Settings) -> None:
    async with counted_house(quick) as house:
        await house.lead()
        await finished(house)
        await house.client.hset(keys.rebuild(0, "totals"), "generation", 2)
        done = await everything_old_goes(house)
        assert sum(done.deleted.values()) == 0
        assert {keep.group for keep in done.kept} == {"projections.totals"}


async def test_an_idempotency_key_is_known_for_as_long_as_its_lead_is_kept(quick: Settings) -> None:
    async with counted_house(quick) as house:

        async def post() -> dict[str, Any]:
            answer = await house.api.post("/leads", json=LEAD, headers={"Idempotency-Key": "one"})
            assert answer.status_code == 202
            return dict(answer.json())

        first = await post()
        assert (await post())["lead_id"] == first["lead_id"]
        await finished(house)
        assert await house.client.xlen(keys.stream(0, keys.LEADS)) == 1
        await everything_old_goes(house)
        await post()
        assert await house.client.xlen(keys.stream(0, keys.LEADS)) == 1


async def test_services_trim_by_themselves_one_at_a_time(quick: Settings, tmp_path: Path) -> None:
    env = {"LEADSTREAM_REDIS_URL": quick.redis_url, "LEADSTREAM_RETAIN": "1s"}
    services = [
        ServiceProcess((), env=env, output=tmp_path / f"p{n}.log", ready_line="ready", module="leadstream_projections")
        for n in range(2)
    ]
    try:
        for service in services:
            await asyncio.to_thread(service.start)
        async with pipeline(quick) as house:
            await house.subscriber()
            await asyncio.gather(*(house.lead() for _ in range(30)))

            async def empty() -> bool:
                return set((await lengths(house)).values()) == {0}

            await eventually(empty, "everything to be trimmed")
            assert house.smtp.count == 30
        for service in services:
            assert await asyncio.to_thread(service.terminate) == 0
            assert "Traceback" not in service.text()
    finally:
        for service in services:
            service.kill()

"""Erasure over all stores: afterwards, and because leads are sealed mostly before too, nobody is found anywhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from redis.asyncio import Redis

from leadstream_events import dead_letters, keys
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import connect
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Actor, Refusal
from leadstream_events.schemas.events import EmailSkipped, LeadErased
from leadstream_events.setting_values import Encryption
from leadstream_events.settings import Settings
from leadstream_events.writer import PipelinedWriter
from tests.cases.pipeline import Pipeline, pipeline
from tests.integration.api.conftest import api_client
from tests.integration.privacy.search import NEEDLES, PERSON, in_files, in_redis
from tests.support.ports import free_port
from tests.support.redis_server import ServerFactory
from tests.support.smtp_server import Fault, Reply, Script
from tests.support.spool_facts import known_to_the_fallback, leads_in_the_spool
from tests.support.waiting import eventually

REFUSAL = Reply(550, "5.1.1 <quilla.zyx@personal-mail.example>: quilla.zyx is unknown here")


async def erased(house: Pipeline, lead: str) -> httpx.Response:
    return await house.api.delete(f"/leads/{lead}", params={"reason": "asked in writing"})


async def person(house: Pipeline) -> str:
    answer = await house.api.post("/leads", json=PERSON)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["lead_id"])


async def test_nothing_is_left_of_a_lead_that_was_mailed_refused_and_suppressed(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    server = fresh_server(appendfsync="always")
    settings = Settings(redis_url=server.url, data_dir=tmp_path / "data", rate_limit=None)
    script = Script(faults=[Fault("rcpt", REFUSAL, times=None, argument=b"quilla.zyx")])
    async with pipeline(settings, script) as house:
        await house.subscriber()
        await house.api.post("/suppressions", json={"address": "Quilla.Zyx@personal-mail.example", "reason": "asked"})
        await house.api.delete("/suppressions/quilla.zyx@personal-mail.example")
        lead = await person(house)
        await house.settled()
        assert [row.state.value for row in (await house.rows(lead)).values()].count("failed") == 1
        # Sealed as it is, the person stands nowhere but in what an operator typed himself.
        assert {each.partition(": ")[0] for each in await in_redis(house.client)} == {keys.SUBSCRIBER_EVENTS}
        await house.api.post("/suppressions", json={"address": "quilla.zyx@personal-mail.example", "reason": "again"})
        assert len(house.to("s1@example.com")) == 1
        shown = (await house.api.get(f"/leads/{lead}")).json()
        assert shown["lead"]["full_name"] == PERSON["full_name"]

        assert (await erased(house, lead)).status_code == 204
        assert (await erased(house, lead)).status_code == 204
        assert await in_redis(house.client) == []
        shown = (await house.api.get(f"/leads/{lead}")).json()
        assert (shown["lead"], shown["erased"]) == (None, True)
        assert [each["event"] for each in shown["timeline"]].count("LeadErased") == 1 or not shown["timeline_complete"]
        listed = (await house.api.get("/leads")).json()["items"]
        assert [(item["full_name"], item["erased"]) for item in listed] == [(None, True)]
        assert (await house.api.get("/previews/welcome", params={"lead_id": lead})).status_code == 410
        assert (await house.api.get(f"/ui/leads/{lead}")).status_code == 200
        assert (await house.api.get("/ui/leads")).status_code == 200
        # Who was a lead stays suppressed, by what nobody can read his address from.
        (held,) = (await house.api.get("/suppressions")).json()["items"]
        assert held["address"].startswith("hmac:")
        again = await person(house)
        await house.settled()
        skipped = [each for each in await house.outcomes() if isinstance(each, EmailSkipped)]
        assert [each.reason for each in skipped] == ["suppressed"]
        await erased(house, again)
        # A rewritten AOF and the spool's files hold nothing either.
        await house.client.execute_command("BGREWRITEAOF")

        async def rewritten() -> bool:
            info = await house.client.info("persistence")
            return not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]

        await eventually(rewritten, "the AOF to be rewritten")
        assert in_files(server.data_dir) == []

        async def noticed() -> bool:  # the API keeps its own copy of suppressions, and looks once a second
            return in_files(tmp_path / "data") == []

        await eventually(noticed, "the API's copy to be rewritten")


async def test_mails_that_wait_are_skipped_and_their_purchased_lead_is_given_back(settings: Settings) -> None:
    busy = Reply(451, "4.3.0 later")
    script = Script(faults=[Fault("rcpt", busy, times=None)])
    quick = settings.model_copy(update={"retry_delays": (0.5,), "retries": 20})
    async with pipeline(quick, script) as house:
        buyer = await house.subscriber(leads_purchased=1)
        lead = await person(house)

        async def deferred() -> bool:
            states = [row.state.value for row in (await house.rows(lead)).values()]
            return len(states) == 2 and "requested" not in states

        await eventually(deferred, "both mails to be deferred")
        assert (await erased(house, lead)).status_code == 204
        await house.settled()
        assert {row.state.value for row in (await house.rows(lead)).values()} == {"skipped"}
        reasons = [each.reason for each in await house.outcomes() if isinstance(each, EmailSkipped)]
        assert reasons == ["erased", "erased"]
        stats = (await house.api.get(f"/subscribers/{buyer}")).json()
        assert stats["leads_remaining"] == 1
        assert house.smtp.mails == []


async def test_a_failed_mail_of_an_erased_lead_cannot_begin_again(settings: Settings, raw: Redis) -> None:
    script = Script(faults=[Fault("rcpt", REFUSAL, times=None)])
    async with pipeline(settings.model_copy(update={"welcome": False}), script) as house:
        await house.subscriber()
        lead = await person(house)
        await house.settled()
        await erased(house, lead)
        async with PipelinedWriter(house.client) as writer:
            log = StreamLog(house.client, writer, partitions=1, deadline_s=5.0)
            letters = [letter async for letter in dead_letters.each(log)]
            done = await Redriver(log, lease_s=60.0).redrive(0, letters[0].entry_id, Actor("tests"))
        assert done.refusal is Refusal.ERASED


async def test_a_lead_in_the_spool_is_sealed_there_erased_there_and_stays_erased(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    port = free_port()
    server = fresh_server(appendfsync="always", port=port)
    settings = Settings(redis_url=server.url, data_dir=tmp_path / "data", rate_limit=None, append_deadline=0.3)
    async with pipeline(settings, Script(faults=[Fault("rcpt", Reply(451, "4.3.0 later"), times=None)])) as house:
        who = await house.subscriber()
        lead = await house.lead()

        async def known() -> bool:  # the API has looked at subscribers, so it could send, and has nothing to merge
            folder = tmp_path / "data"
            return known_to_the_fallback(folder, [who]) and not leads_in_the_spool(folder)

        await eventually(known, "the API to have looked")
        server.kill()
        waiting = await person(house)
        kept = await person(house)

        async def tried() -> bool:  # to mail both, which leaves traces of its own
            lines = [line.upper() for _, line in house.smtp.wire]
            return sum(line.startswith(b"RCPT") and b"QUILLA.ZYX" in line for line in lines) >= 2

        await eventually(tried, "the API to have tried to mail both")
        assert in_files(tmp_path / "data") == []
        answer = await erased(house, waiting)
        assert answer.status_code == 202, answer.text
        assert in_files(tmp_path / "data") == []
        assert (await erased(house, lead)).status_code == 503
        again = await asyncio.to_thread(fresh_server, server.data_dir, appendfsync="always", port=port)
        assert again.url == server.url

        async def merged() -> bool:
            checks = (await house.api.get("/health/ready")).json()["checks"]
            return bool(checks["redis"]["status"] == "ok" and not checks["spool"]["leads"])

        await eventually(merged, "the spool to be merged", 60)
        client = connect(server.url, timeout_s=5.0)
        assert await client.hget(keys.lead_keys(0), waiting) == b"erased"
        assert (await client.hget(keys.lead_keys(0), kept)).startswith(b"-:")
        told = [fields[b"type"] for _, fields in await client.xrange(keys.stream(0, keys.LEADS))]
        assert told.count(LeadErased.__name__.encode()) == 1
        assert (await house.api.get(f"/leads/{kept}")).json()["lead"]["full_name"] == PERSON["full_name"]
        view = (await house.api.get(f"/leads/{waiting}")).json()
        assert (view["lead"], view["erased"]) == (None, True)
        assert await in_redis(client) == []
        assert in_files(tmp_path / "data") == []
        await client.aclose()


async def test_another_body_and_the_same_one_are_refused_under_the_key_of_an_erased_lead(settings: Settings) -> None:
    async with api_client(settings) as api:
        key = {"idempotency-key": "once"}
        lead = (await api.post("/leads", json=PERSON, headers=key)).json()["lead_id"]
        assert (await api.delete(f"/leads/{lead}")).status_code == 204
        for body in (PERSON, PERSON | {"state": "CA"}):
            answer = await api.post("/leads", json=body, headers=key)
            assert (answer.status_code, "erased" in answer.text) == (409, True)


async def test_an_unknown_lead_is_a_404_and_one_in_the_clear_a_409_with_the_mend(
    settings: Settings, raw: Redis
) -> None:
    off = settings.model_copy(update={"encryption": Encryption.OFF})
    async with api_client(off) as api:
        assert (await api.delete("/leads/00000000-0000-7000-8000-000000000000")).status_code == 404
        assert (await api.delete("/leads/no-id")).status_code == 404
        lead = (await api.post("/leads", json=PERSON)).json()["lead_id"]
        assert len(await in_redis(raw)) == len(NEEDLES)
        answer = await api.delete(f"/leads/{lead}")
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "stored-in-the-clear")
        assert "trim" in answer.json()["detail"]
        assert (await api.get(f"/leads/{lead}")).json()["lead"]["full_name"] == PERSON["full_name"]

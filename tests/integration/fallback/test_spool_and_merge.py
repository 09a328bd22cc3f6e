"""The spool on a real disk and its merge into a real Redis: at most once each, whatever is repeated or refused."""

from __future__ import annotations

import asyncio
import json
import resource
import stat
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from leadstream_api.fallback import verdict
from leadstream_api.fallback.database import SpoolUnavailable
from leadstream_api.fallback.merging import merge_args
from leadstream_api.fallback.rows import SpooledLead, SpooledMail
from leadstream_api.fallback.sending import Postman
from leadstream_api.fallback.spool import Spool, Work
from leadstream_cli.main import cli
from leadstream_events import keys, scripts
from leadstream_events.envelope import encode, flat, make_event
from leadstream_events.errors import Conflict
from leadstream_events.ids import new_id
from leadstream_events.ledger import Row, State
from leadstream_events.log import StreamLog
from leadstream_events.recipients import candidates
from leadstream_events.redis_client import Client, connect
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Actor, Refusal
from leadstream_events.schemas.events import Kind, LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import MailFormat, Subscriber
from leadstream_events.setting_values import OnUnknown
from leadstream_events.settings import Settings
from leadstream_events.vault import Vault
from leadstream_events.writer import PipelinedWriter
from leadstream_mail.attempt_rules import AttemptRules
from leadstream_mail.build import MailBuilder
from leadstream_mail.marks import Marks
from leadstream_mail.return_path import ReturnPaths
from leadstream_mail.smtp.outcome import Accepted
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mail.templates import Templates
from leadstream_mailer.content import Contents
from tests.integration.api.conftest import LEAD, api_client
from tests.support.ports import free_port
from tests.support.sealed import sealer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RULES = AttemptRules("leads@example.com", 4, (60.0,), OnUnknown.RESEND)
SUBSCRIBER = Subscriber(id="s1", email="s1@example.com", name="Søren, A.", created_at=NOW)
DANA = Lead(full_name="Dana Example", email="dana@example.com", state="CA")
LEADS, EMAILS, OUTCOMES, DEAD = (keys.stream(0, name) for name in keys.STREAMS)


def spooled(lead_id: str = "11111111-1111-7111-8111-111111111111", fingerprint: str = "f") -> SpooledLead:
    event = make_event(LeadReceived(lead=DANA, mode="fallback"), subject=lead_id, now=NOW)
    return SpooledLead(1, lead_id, fingerprint, new_id(), encode(event), False, True)


def sent_mail(lead: SpooledLead) -> Work:
    [candidate] = candidates(lead.lead_id, DANA, [SUBSCRIBER], welcome=False)
    mail = verdict.requested(lead, candidate, SUBSCRIBER.name, NOW)
    row, outcomes = verdict.after(lead, verdict.begun(mail, NOW), Accepted(250, "ok"), RULES, NOW)
    return Work(lead, (row,), outcomes)


async def merge(raw: Client, work: Work) -> list[Any]:
    names = [LEADS, keys.ledger(0, work.lead.lead_id), EMAILS, OUTCOMES, DEAD, keys.lead_keys(0)]
    reply: list[Any] = await scripts.run(raw, scripts.MERGE, names, merge_args(work))
    return reply


async def types(raw: Client, stream: str) -> list[str]:
    return [fields[b"type"].decode() for _, fields in await raw.xrange(stream)]


async def test_a_merge_stores_everything_once_however_often_it_is_repeated(raw: Client) -> None:
    work = sent_mail(spooled())
    first, again = await merge(raw, work), await merge(raw, work)
    assert (first[0], again[0], first[1]) == (1, 2, again[1])
    assert await types(raw, LEADS) == ["LeadReceived"]
    assert await types(raw, EMAILS) == ["EmailRequested"]
    assert await types(raw, OUTCOMES) == ["EmailSent"]
    [(request, fields)] = await raw.xrange(EMAILS)
    assert json.loads(fields[b"data"])["lead_entry"] == first[1].decode()
    row = (await raw.hget(keys.ledger(0, work.lead.lead_id), work.mails[0].email_id)).decode()
    assert row.startswith("sent 1 0 - accepted ")
    assert row.endswith(f" {request.decode()}")


@pytest.mark.parametrize("state", [State.REQUESTED, State.SENDING, State.DEFERRED, State.UNKNOWN])
async def test_a_mail_that_a_worker_has_not_finished_becomes_a_sent_one(raw: Client, state: State) -> None:
    work = sent_mail(spooled())
    ledger, email = keys.ledger(0, work.lead.lead_id), work.mails[0].email_id
    await raw.hset(ledger, mapping={"lead": "1-1 f", email: str(Row(state, 1, 0, "w", "begin", 5, "7-7"))})
    status, _, copies = await merge(raw, work)
    assert (status, copies) == (0, 0)
    assert await types(raw, EMAILS) == []
    assert await types(raw, OUTCOMES) == ["EmailSent"]
    assert (await raw.hget(ledger, email)).startswith(b"sent ")


async def test_a_mail_that_a_worker_has_sent_too_is_marked_as_a_duplicate(raw: Client) -> None:
    work = sent_mail(spooled())
    ledger, email = keys.ledger(0, work.lead.lead_id), work.mails[0].email_id
    theirs = str(Row(State.SENT, 1, 0, "-", "accepted", 5, "7-7"))
    await raw.hset(ledger, mapping={"lead": "1-1 f", email: theirs})
    assert (await merge(raw, work))[2] == 1
    [(_, fields)] = await raw.xrange(OUTCOMES)
    assert (fields[b"type"], json.loads(fields[b"data"])["policy"]) == (b"EmailOutcomeUnknown", "duplicate")
    assert (await raw.hget(ledger, email)).decode() == theirs


async def test_a_body_that_lost_against_another_one_under_its_key_is_kept_for_a_person(raw: Client) -> None:
    work = sent_mail(spooled(fingerprint="mine"))
    await raw.hset(keys.ledger(0, work.lead.lead_id), "lead", "1-1 theirs")
    assert (await merge(raw, work))[0] == -1
    assert (await merge(raw, work))[0] == 2
    [(_, fields)] = await raw.xrange(DEAD)
    letter = json.loads(fields[b"data"])
    assert (letter["cause"], letter["entry_id"]) == ("idempotency_conflict", "1-1")
    assert letter["fields"] == work.lead.fields


async def test_a_body_that_lost_is_not_thrown_away_by_a_redrive_of_its_letter(raw: Client) -> None:
    work = sent_mail(spooled(fingerprint="mine"))
    first = await raw.xadd(LEADS, encode(make_event(LeadReceived(lead=DANA), subject=work.lead.lead_id, now=NOW)))
    await raw.hset(keys.ledger(0, work.lead.lead_id), "lead", f"{first.decode()} theirs")
    await merge(raw, work)
    [(letter, _)] = await raw.xrange(DEAD)
    async with PipelinedWriter(raw) as writer:
        redriver = Redriver(StreamLog(raw, writer, partitions=1, deadline_s=2.0), lease_s=60.0)
        done = await redriver.redrive(0, letter.decode(), Actor("tests", "all of them"))
        assert (done.refusal, await raw.xlen(DEAD)) == (Refusal.OTHER_BODY, 1)
        assert (await redriver.drop(0, letter.decode(), Actor("tests", "sent as a new lead"))).refusal is None
    assert await raw.xlen(DEAD) == 0


async def test_an_append_that_arrives_after_its_deadline_stores_nothing(raw: Client) -> None:
    event = make_event(LeadReceived(lead=DANA), subject="late", now=NOW)
    names = [LEADS, keys.ledger(0, "late"), keys.lead_keys(0)]
    reply = await scripts.run(raw, scripts.APPEND, names, ["f", 1, "late", "", *flat(event)])
    assert (reply[0], await raw.xlen(LEADS), await raw.exists(keys.ledger(0, "late"))) == (-2, 0, 0)


async def test_a_lead_in_the_spool_is_stored_once_and_keeps_its_first_body(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        lead = spooled()
        assert await spool.add(lead.lead_id, "f", lead.fields, in_doubt=True) is True
        assert await spool.add(lead.lead_id, "f", lead.fields, in_doubt=True) is False
        with pytest.raises(Conflict):
            await spool.add(lead.lead_id, "other", lead.fields, in_doubt=True)
        assert (await spool.depth()).leads == 1
    async with opened(tmp_path) as spool:
        assert await spool.find(lead.lead_id) == "f"
        assert stat.S_IMODE((tmp_path / "spool.db").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "spool.db-wal").stat().st_mode) == 0o600


async def test_a_disk_that_takes_no_more_stores_nothing_and_the_spool_recovers_by_itself(tmp_path: Path) -> None:
    """A file size limit makes real writes fail, as a full disk does."""
    async with opened(tmp_path) as spool:
        first, second = spooled(new_id()), spooled(new_id())
        await spool.add(first.lead_id, "f", first.fields, in_doubt=False)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "spool.db-wal").stat().st_size, hard))
        try:
            with pytest.raises(SpoolUnavailable):
                await spool.add(second.lead_id, "f", second.fields, in_doubt=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (await spool.find(first.lead_id), await spool.find(second.lead_id)) == ("f", None)
        assert await spool.add(second.lead_id, "f", second.fields, in_doubt=False) is True


async def test_two_spools_on_one_file_see_each_others_leads(tmp_path: Path) -> None:
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        assert await other.find("absent") is None
        leads = [spooled(new_id()) for _ in range(40)]
        adding = [
            spool.add(lead.lead_id, "f", lead.fields, in_doubt=False)
            for lead, spool in zip(leads, [one, other] * 20, strict=True)
        ]
        assert all(await asyncio.gather(*adding))
        assert [await spool.find(lead.lead_id) for spool in (one, other) for lead in leads] == ["f"] * 80


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Spool]:
    spool = Spool(directory)
    spool.database.start()
    try:
        yield spool
    finally:
        await spool.database.close()


@asynccontextmanager
async def api_without_redis(data_dir: Path) -> AsyncIterator[httpx.AsyncClient]:
    url = f"redis://127.0.0.1:{free_port()}"
    async with api_client(Settings(redis_url=url, data_dir=data_dir)) as client:
        yield client


async def test_without_redis_and_without_a_disk_a_lead_is_refused_and_never_accepted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory can be made under a file")
    async with api_without_redis(tmp_path / "file" / "data") as api:
        answer = await api.post("/leads", json=LEAD)
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert int(answer.headers["retry-after"]) > 0
        assert "spool" in answer.json()["detail"]
        ready = await api.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["spool"]["status"]) == (503, "failed")


async def test_a_key_repeated_during_the_outage_gets_the_first_answer_and_another_body_409(tmp_path: Path) -> None:
    async with api_without_redis(tmp_path / "data") as api:
        key = {"idempotency-key": "k"}
        first, again = [await api.post("/leads", json=LEAD, headers=key) for _ in range(2)]
        other = await api.post("/leads", json=LEAD | {"full_name": "Other"}, headers=key)
        assert (first.json(), again.headers["idempotent-replayed"], other.status_code) == (again.json(), "true", 409)
        metrics = (await api.get("/metrics")).text
        assert "leadstream_spool_leads 1.0" in metrics
        assert "leadstream_redis_away 1.0" in metrics


async def test_the_command_line_shows_the_spool_without_personal_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as spool:
        lead = spooled()
        await spool.add(lead.lead_id, "f", lead.fields, in_doubt=True)
        await spool.plan(lead.lead_id, sent_mail(lead).mails, ())
    monkeypatch.setenv("LEADSTREAM_DATA_DIR", str(tmp_path))
    shown = CliRunner().invoke(cli, ["spool", "--json"])
    value = json.loads(shown.output)
    assert (value["leads"], value["mails"], value["items"][0]["in_doubt"]) == (1, {"sent": 1}, True)
    table = CliRunner().invoke(cli, ["spool"]).output
    assert lead.lead_id in table
    assert "@" not in table + shown.output
    assert "Dana" not in table + shown.output


@pytest.mark.parametrize("form", MailFormat)
async def test_both_paths_build_the_same_bytes_but_for_the_date(
    settings: Settings, raw: Client, form: MailFormat
) -> None:
    client = connect(settings.redis_url, timeout_s=5.0)
    builder = MailBuilder(Templates.load(None), "leads@example.com", "http://127.0.0.1:8000")
    lead, keys_of = spooled(), sealer()
    async with PipelinedWriter(client) as writer:
        log = StreamLog(client, writer, partitions=1, deadline_s=2.0, vault=Vault(client, keys_of))
        stored = await log.append_lead(lead.event, "f")
    pool = SmtpPool("smtp://127.0.0.1:9", connections=1, timeout_s=1.0, data_timeout_s=1.0)
    paths, marks = ReturnPaths("leads@example.com"), Marks(settings, (b"a secret of sixteen or more",))
    postman = Postman(
        Spool(settings.data_dir), pool, builder, RULES, keys_of, lambda: True, lambda outcome: None, lambda: paths,
        lambda: marks, lambda subscriber_id: form if subscriber_id else MailFormat.HTML,
    )  # fmt: skip
    seen = Counter[Kind]()
    for candidate in candidates(lead.lead_id, DANA, [SUBSCRIBER], welcome=True):
        name = SUBSCRIBER.name if candidate.subscriber_id else None
        mail: SpooledMail = verdict.requested(lead, candidate, name, NOW)
        ours = postman.compose(lead, mail, NOW)
        place, its_form = (0, lead.lead_id, stored.entry_id), form if candidate.subscriber_id else MailFormat.HTML
        prepared = await Contents(client, builder, keys_of).of(place, candidate.kind, its_form)
        mark = marks.of(lead.lead_id, candidate.email_id, candidate.subscriber_id)
        theirs = prepared.for_recipient(
            name=name, address=candidate.to, message_id=f"<{candidate.email_id}@example.com>", date=NOW,
            extra=mark.headers, unsubscribe=mark.unsubscribe,
        )  # fmt: skip
        assert replace(ours) == theirs
        seen[candidate.kind] += 1
    assert seen == {Kind.WELCOME: 1, Kind.NOTIFICATION: 1}
    await pool.close()
    await client.aclose()

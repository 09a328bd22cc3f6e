"""What the reading commands show of streams that hold real events."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from leadstream_events import keys
from leadstream_events.envelope import encode, make_event
from leadstream_events.ids import email_id, message_id, new_id
from leadstream_events.ledger import Row, State
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import connect
from leadstream_events.schemas.events import EmailDeferred, EmailRequested, EventData, Kind, LeadReceived, SmtpFailure
from leadstream_events.schemas.lead import Lead
from leadstream_events.writer import PipelinedWriter
from tests.integration.cli.conftest import Cli

NOW = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)


@pytest.fixture
def client(redis_url: str) -> Any:
    with Redis.from_url(redis_url, protocol=2) as made:
        yield made


def append(url: str, lead_id: str, **fields: Any) -> str:
    """Stores a lead the way the API does; returns its entry id."""

    async def run() -> str:
        made = connect(url, timeout_s=5.0)
        async with PipelinedWriter(made) as writer:
            log = StreamLog(made, writer, partitions=1, deadline_s=5.0)
            lead = Lead.model_validate({"full_name": "Ann Other", "email": "ann.other@example.com", **fields})
            event = make_event(LeadReceived(lead=lead), subject=lead_id, now=NOW)
            appended = await log.append_lead(event, "fp")
        await made.aclose()
        return appended.entry_id

    return asyncio.run(run())


def put(client: Any, stream: str, lead_id: str, data: EventData) -> str:
    entry = client.xadd(keys.stream(0, stream), encode(make_event(data, subject=lead_id, now=NOW)))
    return str(entry.decode())


def deferred_mail(client: Any, redis_url: str) -> tuple[str, str]:
    """A lead whose welcome mail was deferred once and is parked; returns lead id and mail id."""
    lead_id = new_id()
    entry = append(redis_url, lead_id)
    mail = email_id(lead_id, Kind.WELCOME, "lead")
    place = put(
        client,
        keys.EMAILS,
        lead_id,
        EmailRequested(email_id=mail, kind=Kind.WELCOME, to="ann.other@example.com", lead_entry=entry),
    )
    failure = SmtpFailure(permanent=False, phase="rcpt", code=450, line="450 4.2.0 <ann.other@example.com> greylisted")
    outcome = put(
        client,
        keys.OUTCOMES,
        lead_id,
        EmailDeferred(email_id=mail, kind=Kind.WELCOME, attempt=1, failure=failure, next_attempt_at=NOW),
    )
    emails = keys.stream(0, keys.EMAILS)
    client.xgroup_create(emails, keys.MAILER, "0")
    client.xreadgroup(keys.MAILER, keys.PARKED, {emails: ">"})
    seconds, _ = client.time()
    due_ms = (seconds + 60) * 1000
    client.zadd(keys.due(0, keys.MAILER), {f"emails {place}": due_ms})
    client.hset(keys.ledger(0, lead_id), mail, str(Row(State.DEFERRED, 1, at_ms=due_ms, entry=place)))
    client.hset(
        keys.projection(0, "leads", 1, lead_id), mapping={"@e1": f"emails {place}", "@e2": f"outcomes {outcome}"}
    )
    return lead_id, mail


def test_pending_shows_attempts_next_attempt_and_the_last_error_without_the_address(
    cli: Cli, client: Any, redis_url: str
) -> None:
    lead_id, mail = deferred_mail(client, redis_url)
    (row,) = cli("pending", "mailer", "--json").json
    assert (row["lead_id"], row["email_id"], row["attempts"], row["owner"]) == (lead_id, mail, 1, "(waiting)")
    assert 50 < row["next_attempt_in_s"] <= 61
    assert row["last_error"] == "EmailDeferred: rcpt 450 450 4.2.0 <a***@example.com> greylisted"


@pytest.mark.parametrize("args", [(), ("mailer",), ("projections",), ("fanout",)])
def test_pending_says_clearly_that_nothing_is_pending(cli: Cli, args: tuple[str, ...]) -> None:
    result = cli("pending", *args)
    assert (result.out, result.err.startswith("nothing is pending")) == ("", True)
    assert cli("pending", *args, "--json").json == []


def test_a_group_that_is_none_is_named_with_those_there_are(cli: Cli, client: Any, redis_url: str) -> None:
    deferred_mail(client, redis_url)
    result = cli("pending", "mialer", code=1)
    assert "no group 'mialer'; there is mailer" in result.err


@pytest.mark.parametrize("what", ["lead", "mail", "message", "address"])
def test_trace_finds_the_story_by_lead_id_mail_id_message_id_and_address(
    cli: Cli, client: Any, redis_url: str, what: str
) -> None:
    lead_id, mail = deferred_mail(client, redis_url)
    append(redis_url, new_id(), email="somebody.else@example.com")
    wanted = {
        "lead": lead_id,
        "mail": mail,
        "message": message_id(mail, "leads@example.com"),
        "address": "Ann.Other@example.com",
    }[what]
    result = cli("trace", wanted)
    assert result.out.count("lead 0") == 1
    for part in (lead_id, "LeadReceived", "EmailRequested", "EmailDeferred", "attempt 1", "450", "rcpt", "deferred"):
        assert part in result.out
    assert "ann.other" not in result.out
    assert "ann.other@example.com" in cli("trace", wanted, "--pii").out


@pytest.mark.parametrize("what", ["id", "name", "address"])
def test_trace_finds_the_leads_of_a_subscriber(cli: Cli, client: Any, redis_url: str, what: str) -> None:
    wanted, other = new_id(), new_id()
    subscriber = cli("subscribers", "add", "sub@example.com", "--name", "Zeppelin Ltd", "--json").json["id"]
    for lead_id in (wanted, other):
        entry = append(redis_url, lead_id)
        own = {"kind": Kind.NOTIFICATION, "subscriber_id": subscriber} if lead_id == wanted else {"kind": Kind.WELCOME}
        mail = email_id(lead_id, own["kind"], subscriber)
        put(client, keys.EMAILS, lead_id, EmailRequested(email_id=mail, **own, to="x@example.com", lead_entry=entry))
    given = {"id": subscriber, "name": "zeppelin ltd", "address": "SUB@example.com"}[what]
    result = cli("trace", "--subscriber", given)
    assert wanted in result.out
    assert other not in result.out
    assert "no subscriber" in cli("trace", "--subscriber", "nobody", code=1).err
    assert "or --subscriber" in cli("trace", code=2).err


def test_a_search_says_when_there_may_be_more(cli: Cli, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(23):
        append(redis_url, new_id(), email="often@example.com")
    result = cli("trace", "often@example.com", "--json")
    assert len(result.json) == 20
    assert "there may be more" in result.err


@pytest.mark.parametrize("wanted", ["01a212fb-b975-776a-b088-94cf06cd7f73", "nobody@example.com", "rubbish"])
def test_trace_of_what_is_not_there_fails_in_one_line(cli: Cli, wanted: str) -> None:
    result = cli("trace", wanted, code=1)
    assert (result.out, result.err.count("\n")) == ("", 1)


def test_lead_show_masks_the_names_of_subscribers_too(cli: Cli, client: Any, redis_url: str) -> None:
    lead_id = new_id()
    entry = append(redis_url, lead_id)
    subscriber = cli("subscribers", "add", "sub@example.com", "--name", "Zeppelin", "--json").json["id"]
    mail = email_id(lead_id, Kind.NOTIFICATION, subscriber)
    row = Row(State.REQUESTED, entry=entry)
    client.hset(keys.ledger(0, lead_id), mail, str(row))
    for args in (("lead", "show", lead_id), ("lead", "show", lead_id, "--json"), ("trace", lead_id)):
        assert subscriber in cli(*args).out
        assert "Zeppelin" not in cli(*args).out
        assert "Zeppelin" in cli(*args, "--pii").out


def test_lead_show_masks_the_lead_unless_asked(cli: Cli, redis_url: str) -> None:
    lead_id = new_id()
    append(redis_url, lead_id, city="Springfield", state="CA")
    shown = cli("lead", "show", lead_id, "--json").json
    assert (shown["lead"]["full_name"], shown["lead"]["state"], shown["lead"]["city"]) == ("A***", "CA", "S***")
    assert cli("lead", "show", lead_id, "--json", "--pii").json["lead"]["full_name"] == "Ann Other"
    assert "no lead" in cli("lead", "show", new_id(), code=1).err


def stamps(out: str) -> list[str]:
    return [json.loads(line)["entry"] for line in out.splitlines()]


def test_tail_merges_partitions_in_the_order_of_storage(cli: Cli, client: Any) -> None:
    client.hset(keys.META, "partitions", 3)
    for number in range(12):
        client.xadd(keys.stream(number % 3, keys.LEADS), {"id": "x"}, id=f"{1000 + number}-0")
    assert stamps(cli("tail", "leads", "-n", "5", "--json").out) == [f"{1000 + n}-0" for n in range(7, 12)]
    assert stamps(cli("tail", "leads", "--since", "1003-0", "--json").out) == [f"{1000 + n}-0" for n in range(3, 12)]
    assert stamps(cli("tail", "leads", "--since", "1003-0", "-n", "2", "--json").out) == ["1010-0", "1011-0"]
    assert cli("tail", "leads", "-n", "0").out == ""


def test_tail_filters_by_type_and_field(cli: Cli, client: Any, redis_url: str) -> None:
    wanted = new_id()
    for state, lead_id in (("CA", wanted), ("NY", new_id()), ("TX", new_id())):
        append(redis_url, lead_id, state=state)
    client.xadd(keys.stream(0, keys.OUTCOMES), {"type": "EmailSkipped", "data": '{"reason": "suppressed"}'})
    (line,) = cli("tail", "leads", "--where", "state=CA", "--json").out.splitlines()
    assert json.loads(line)["subject"] == wanted
    (line,) = cli("tail", "--type", "emailskipped").out.splitlines()
    assert "reason=suppressed" in line
    assert cli("tail", "leads", "--where", "state", code=2).err.count("\n") == 1
    assert "a span such as 10m" in cli("tail", "leads", "--since", "soon", code=2).err


def test_show_prints_an_entry_whole_and_masked(cli: Cli, redis_url: str) -> None:
    entry = append(redis_url, new_id())
    result = cli("show", f"leads/{entry}")
    assert "LeadReceived" in result.out
    assert "ann.other" not in result.out
    assert cli("show", f"0/leads/{entry}", "--json", "--pii").json["data"]["lead"]["email"] == "ann.other@example.com"
    assert "never was, or was trimmed" in cli("show", "leads/1-1", code=1).err
    assert "must be stream/id" in cli("show", "leads", code=2).err


def test_consumers_tells_the_dead_from_the_living(cli: Cli, client: Any) -> None:
    leads = keys.stream(0, keys.LEADS)
    client.xgroup_create(leads, keys.FANOUT, "0", mkstream=True)
    client.xgroup_createconsumer(leads, keys.FANOUT, "fanout-host-1")
    (row,) = cli("consumers", "fanout", "--json").json
    assert (row["consumer"], row["state"]) == ("fanout-host-1", "alive")
    (row,) = cli("consumers", "fanout", "--json", "--dead-after", "-1").json
    assert row["state"] == "dead"


def test_dead_letters_are_counted_by_cause(cli: Cli, client: Any) -> None:
    for cause in ("poison", "poison", "bad_data"):
        data: dict[str, Any] = {"stream": "emails", "entry_id": "1-0", "group": "mailer", "cause": cause, "fields": {}}
        client.xadd(keys.stream(0, keys.DEAD), {"type": "EntryDeadLettered", "data": json.dumps(data)})
    rows = cli("dead", "list", "--json").json
    assert [(row["cause"], row["count"]) for row in rows] == [("poison", 2), ("bad_data", 1)]
    assert cli("dead", "show", rows[0]["example"], "--json").json["data"]["cause"] == "poison"
    assert len(cli("dead", "list", "--by", "none", "--json").json) == 3


def test_streams_shows_lengths_of_every_partition(cli: Cli, client: Any, redis_url: str) -> None:
    assert cli("streams").err == "no streams yet: nothing was ever written to this Redis\n"
    append(redis_url, new_id())
    (row,) = cli("streams", "--json").json
    assert (row["stream"], row["partition"], row["length"]) == ("leads", 0, 1)

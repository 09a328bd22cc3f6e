"""`export` and `import`: byte for byte, in the order of storage, once however often, and never a mail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from leadstream_events import keys
from leadstream_events.envelope import encode, make_event
from leadstream_events.ids import email_id, new_id
from leadstream_events.schemas.events import EmailRequested, EmailSent, EventData, Kind
from tests.integration.cli.conftest import Cli, run_process
from tests.integration.cli.test_reading import append
from tests.support.cloudevent import from_cloudevent
from tests.support.entries import now
from tests.support.redis_server import ServerFactory

LEADS, EMAILS, OUTCOMES = (keys.stream(0, name) for name in (keys.LEADS, keys.EMAILS, keys.OUTCOMES))


@pytest.fixture
def client(redis_url: str) -> Any:
    with Redis.from_url(redis_url, protocol=2) as made:
        yield made


@pytest.fixture
def target(fresh_server: ServerFactory) -> Iterator[Any]:
    """Another, empty server."""
    with Redis.from_url(fresh_server().url, protocol=2) as made:
        yield made


def put(client: Any, stream: str, lead_id: str, data: EventData) -> str:
    return str(client.xadd(stream, encode(make_event(data, subject=lead_id, now=now()))).decode())


def fill(cli: Cli, client: Any, redis_url: str, leads: int = 3) -> list[str]:
    """Leads whose welcome mail was sent, but for the last one's; a subscriber, a suppression; returns lead ids."""
    cli("subscribers", "add", "buyer@example.com", "--name", "Buyer")
    cli("subscribers", "change", "buyer@example.com", "--email", "new@example.com")
    cli("suppressions", "add", "stop@example.com")
    ids = []
    for number in range(leads):
        lead_id = new_id()
        ids.append(lead_id)
        entry = append(redis_url, lead_id, email=f"visitor{number}@example.com")
        mail = email_id(lead_id, Kind.WELCOME, "lead")
        own = {"email_id": mail, "kind": Kind.WELCOME}
        put(client, EMAILS, lead_id, EmailRequested(**own, to=f"visitor{number}@example.com", lead_entry=entry))
        if number < leads - 1:
            sent = EmailSent(**own, attempt=1, code=250, reply="ok", message_id=f"<{mail}@example.com>")
            put(client, OUTCOMES, lead_id, sent)
    client.xadd(OUTCOMES, {b"\xff": b"not ours\xfe"})
    return ids


def dump(client: Any) -> dict[str, Any]:
    names = (LEADS, EMAILS, OUTCOMES, keys.SUBSCRIBER_EVENTS)
    return {name: client.xrange(name) for name in names}


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def run(target: Any, tmp_path: Path, *args: str, stdin: bytes = b"") -> Any:
    path = target.connection_pool.connection_kwargs["path"]
    env = {"LEADSTREAM_REDIS_URL": f"unix://{path}"}
    return run_process(*args, cwd=tmp_path, env=env, stdin=stdin)


def test_an_import_restores_entries_byte_for_byte_and_what_follows_from_them(
    cli: Cli, client: Any, redis_url: str, target: Any, tmp_path: Path
) -> None:
    ids = fill(cli, client, redis_url)
    file = tmp_path / "all.jsonl"
    cli("export", str(file), "--pii")
    result = run(target, tmp_path, "import", str(file), "--yes", "--json")
    assert (result.code, result.json["refused"]) == (0, 0)
    assert dump(target) == dump(client)
    for key in (keys.SUBSCRIBER_STATE, keys.SUBSCRIBER_EMAILS, keys.SUPPRESSIONS):
        assert target.hgetall(key) == client.hgetall(key)
    states = [target.hget(keys.ledger(0, lead), email_id(lead, Kind.WELCOME, "lead")).split()[0] for lead in ids]
    assert states == [b"sent", b"sent", b"held"]
    (told,) = run(target, tmp_path, "operations", "--json").json
    assert (told["event"], told["data"]["action"]) == ("CommandFinished", "import")
    ends = {name: target.xinfo_groups(name)[0] for name in (LEADS, EMAILS, OUTCOMES)}
    assert {name: group["name"] for name, group in ends.items()} == {
        LEADS: b"fanout",
        EMAILS: b"mailer",
        OUTCOMES: b"quota",
    }
    for name, group in ends.items():
        assert group["last-delivered-id"] == target.xinfo_stream(name)["last-generated-id"]


def test_an_import_that_was_cut_off_goes_on_and_once_more_changes_nothing(
    cli: Cli, client: Any, redis_url: str, target: Any, tmp_path: Path
) -> None:
    fill(cli, client, redis_url)
    whole = run_process("export", "--pii", cwd=tmp_path, env={"LEADSTREAM_REDIS_URL": redis_url}).out.encode()
    half = b"\n".join(whole.splitlines()[:5])
    assert run(target, tmp_path, "import", "-", "--yes", stdin=half).code == 0
    refused = run(target, tmp_path, "import", "-", "--yes", stdin=whole)
    assert (refused.code, "--merge" in refused.err) == (1, True)
    result = run(target, tmp_path, "import", "-", "--yes", "--merge", "--json", stdin=whole)
    assert (result.code, result.json["there_already"]) == (0, 5)
    assert dump(target) == dump(client)
    again = run(target, tmp_path, "import", "-", "--yes", "--merge", "--json", stdin=whole).json
    assert (again["stored"], again["refused"]) == (0, 0)


def test_entries_that_cannot_keep_their_place_are_refused_by_line(
    cli: Cli, client: Any, redis_url: str, target: Any, tmp_path: Path
) -> None:
    append(redis_url, new_id())
    whole = run_process("export", "--pii", cwd=tmp_path, env={"LEADSTREAM_REDIS_URL": redis_url}).out.encode()
    target.xadd(LEADS, {"id": "other"}, id="9999999999999-0")
    target.xgroup_create(LEADS, keys.FANOUT, "$")
    result = run(target, tmp_path, "import", "-", "--yes", "--merge", "--json", stdin=whole + b"{}\nrubbish\n")
    assert (result.code, result.json) == (1, {"stored": 0, "there_already": 0, "refused": 3})
    assert "line 1: newer entries are in its stream already" in result.err
    assert "line 2:" in result.err


def test_work_that_waits_in_the_target_is_never_passed_over(
    cli: Cli, client: Any, redis_url: str, target: Any, tmp_path: Path
) -> None:
    append(redis_url, new_id())
    whole = run_process("export", "--pii", cwd=tmp_path, env={"LEADSTREAM_REDIS_URL": redis_url}).out.encode()
    target.xadd(LEADS, {"id": "its own"}, id="1-0")
    result = run(target, tmp_path, "import", "-", "--yes", "--merge", "--json", stdin=whole)
    assert (result.code, result.json["refused"]) == (1, 1)
    assert "still to read" in result.err
    assert target.xlen(LEADS) == 1


def test_a_masked_export_shows_no_address_and_is_never_imported(
    cli: Cli, client: Any, redis_url: str, target: Any, tmp_path: Path
) -> None:
    fill(cli, client, redis_url, leads=1)
    masked = run_process("export", cwd=tmp_path, env={"LEADSTREAM_REDIS_URL": redis_url}).out
    assert "visitor0" not in masked
    result = run(target, tmp_path, "import", "-", "--yes", stdin=masked.encode())
    assert result.code == 1
    assert "masked" in result.err
    assert target.xlen(LEADS) == 0


def test_lines_are_cloudevents_that_the_library_reads(cli: Cli, client: Any, redis_url: str, tmp_path: Path) -> None:
    fill(cli, client, redis_url)
    out = run_process("export", "--pii", cwd=tmp_path, env={"LEADSTREAM_REDIS_URL": redis_url}).out
    events = lines(out)
    for event in events:
        assert {"specversion", "id", "source", "type"} <= set(event)
        if event["type"] != "leadstream.entry":
            assert from_cloudevent(event).id == event["id"]
    assert sum(event["type"] == "leadstream.entry" for event in events) == 1
    order = [tuple(map(int, event["entryid"].split("-"))) for event in events]
    assert order == sorted(order)


def test_an_export_goes_on_where_it_ended_by_position_and_by_file(
    cli: Cli, client: Any, redis_url: str, tmp_path: Path
) -> None:
    env = {"LEADSTREAM_REDIS_URL": redis_url}
    append(redis_url, new_id())
    first = run_process("export", "--pii", cwd=tmp_path, env=env)
    after = first.err.rpartition("--after ")[2].strip()
    file = tmp_path / "some.jsonl"
    cli("export", str(file), "--pii")
    with file.open("ab") as torn:
        torn.write(b'{"specversion":"1.0","id":"torn')
    later = [append(redis_url, new_id()), append(redis_url, new_id())]
    rest = run_process("export", "--pii", "--after", after, cwd=tmp_path, env=env)
    assert [event["entryid"] for event in lines(rest.out)] == later
    assert "--resume" in cli("export", str(file), "--pii", code=2).err
    cli("export", str(file), "--pii", "--resume")
    assert file.read_text() == first.out + rest.out
    assert "--after" in cli("export", "--after", "rubbish", code=2).err


def test_an_export_keeps_to_streams_types_and_times(cli: Cli, client: Any, redis_url: str, tmp_path: Path) -> None:
    fill(cli, client, redis_url)
    env = {"LEADSTREAM_REDIS_URL": redis_url}

    def types(*args: str) -> set[str]:
        return {event["type"] for event in lines(run_process("export", *args, cwd=tmp_path, env=env).out)}

    assert types("--stream", "leads") == {"leadstream.LeadReceived"}
    assert types("--type", "emailsent") == {"leadstream.EmailSent"}
    assert types("--since", "9999999999999") == types("--until", "1") == set()
    assert types("--since", "1h", "--stream", "emails") == {"leadstream.EmailRequested"}


def test_an_import_needs_consent(cli: Cli, client: Any, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "none.jsonl"
    file.write_text("{}\n")
    assert "dry run" in cli("import", str(file), "--dry-run").err
    env = {"LEADSTREAM_REDIS_URL": redis_url}
    assert "it needs --yes" in run_process("import", "-", cwd=tmp_path, env=env, stdin=b"{}").err
    assert client.exists(keys.stream(0, keys.LEADS)) == 0

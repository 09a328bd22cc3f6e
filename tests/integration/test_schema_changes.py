"""Streams that hold many versions of an event are read by today's code, in every service and command.

The history is made up, one step for each kind of change; it ends with today's schemas, so that what the services write
themselves is of the newest version.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from leadstream_cli.main import run
from leadstream_events import keys, scripts
from leadstream_events.envelope import decode, flat, make_event
from leadstream_events.errors import Malformed
from leadstream_events.ids import email_id, new_id
from leadstream_events.redis_client import connect
from leadstream_events.schemas import events as e
from leadstream_events.schemas.registry import CURRENT, UPCASTERS
from leadstream_events.settings import Settings
from leadstream_projections.counters import PROJECTIONS
from leadstream_projections.rebuild import rebuild
from tests.cases.pipeline import pipeline
from tests.integration.projections.running import projecting
from tests.integration.projections.scan import GROUPS, all_finished
from tests.support.cloudevent import from_cloudevent
from tests.support.entries import now
from tests.support.waiting import eventually

NEWEST_LEAD, NEWEST_SENT = 5, 3


def renamed(data: dict[str, Any]) -> dict[str, Any]:
    lead = dict(data["lead"])
    lead["full_name"] = lead.pop("name")
    return {**data, "lead": lead}


def split(data: dict[str, Any]) -> dict[str, Any]:
    lead = dict(data["lead"])
    year, make, model = lead.pop("vehicle").split(" ", 2)
    return {**data, "lead": {**lead, "vehicles": [{"year": int(year), "make": make, "model": model}]}}


def type_changed(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "lead": {**data["lead"], "tickets_past_year": int(data["lead"]["tickets_past_year"])}}


def field_added(data: dict[str, Any]) -> dict[str, Any]:
    return {"mode": "stream", **data}


LEADS: dict[int, dict[str, Any]] = {
    1: {"lead": {"name": "Ann One", "email": "ann@example.com", "vehicle": "2021 Kia Rio X", "tickets_past_year": "1"}},
    2: {
        "lead": {
            "full_name": "Ben Two", "email": "ben@example.com", "vehicle": "2020 Kia Rio", "tickets_past_year": "2",
        }
    },
    3: {"lead": {"full_name": "Cy Three", "email": "cy@example.com", "vehicles": [], "tickets_past_year": "3"}},
    4: {"lead": {"full_name": "Di Four", "email": "di@example.com", "vehicles": [], "tickets_past_year": 4}},
}  # fmt: skip


def code_renamed(data: dict[str, Any]) -> dict[str, Any]:
    return {("code" if name == "smtp" else name): value for name, value in data.items()}


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Today's schemas get a past."""
    monkeypatch.setitem(CURRENT, "LeadReceived", (NEWEST_LEAD, e.LeadReceived))
    for version, step in enumerate((renamed, split, type_changed, field_added), start=1):
        monkeypatch.setitem(UPCASTERS, ("LeadReceived", version), step)
    monkeypatch.setitem(CURRENT, "EmailSent", (NEWEST_SENT, e.EmailSent))
    monkeypatch.setitem(
        UPCASTERS,
        ("EmailSent", 1),
        lambda data: {**{k: v for k, v in data.items() if k != "smtp"}, "code": data["smtp"]},
    )
    monkeypatch.setitem(UPCASTERS, ("EmailSent", 2), lambda data: {**data, "code": int(data["code"])})


def old(kind: str, version: int, data: dict[str, Any], subject: str) -> dict[str, str]:
    """An entry as it was written by code of long ago."""
    fields = flat(make_event(e.LeadErased(by="x"), subject=subject, now=now()))
    return {
        **dict(zip(fields[::2], fields[1::2], strict=True)),
        "type": kind,
        "v": str(version),
        "data": json.dumps(data),
    }


def raw_fields(entry: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in entry.items()}


async def store_lead(client: Any, lead_id: str, version: int) -> None:
    entry = old("LeadReceived", version, LEADS[version], lead_id)
    names = [keys.stream(0, keys.LEADS), keys.ledger(0, lead_id), keys.lead_keys(0)]
    args: list[Any] = ["print", 0, lead_id, "", *(part for pair in entry.items() for part in pair)]
    assert (await scripts.run(client, scripts.APPEND, names, args))[0] == 1


@pytest.mark.parametrize("version", LEADS)
def test_each_kind_of_change_is_upcast_to_todays_lead(version: int, history: None) -> None:
    data = decode(raw_fields(old("LeadReceived", version, LEADS[version], "lead-1"))).data
    assert isinstance(data, e.LeadReceived)
    lead: Any = data.lead
    assert lead.full_name.split()[1] in ("One", "Two", "Three", "Four")
    assert (lead.tickets_past_year, data.mode) == (version, "stream")
    assert [each.model for each in lead.vehicles] == {1: ["Rio X"], 2: ["Rio"]}.get(version, [])


@pytest.mark.parametrize(("version", "cause"), [(6, "future_version"), (0, "bad_version")])
def test_versions_that_nobody_can_read_are_named(version: int, cause: str, history: None) -> None:
    with pytest.raises(Malformed, match=cause):
        decode(raw_fields(old("LeadReceived", version, LEADS[4], "lead-1")))


def test_old_data_of_another_shape_is_malformed_and_no_bug(history: None) -> None:
    with pytest.raises(Malformed, match="bad_data"):
        decode(raw_fields(old("LeadReceived", 1, LEADS[4], "lead-1")))


async def test_streams_of_many_versions_are_read_by_every_service_and_command(
    settings: Settings,
    raw: Any,
    history: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", settings.redis_url)
    client = connect(settings.redis_url, timeout_s=5.0)
    ids = {version: new_id() for version in LEADS}
    async with pipeline(settings) as house, projecting(settings):
        await house.subscriber("sub@example.com", "Sue")
        for version, lead_id in ids.items():
            await store_lead(client, lead_id, version)
        today = await house.lead(full_name="Eve Today", email="eve@example.com")
        for version, code in ((1, {"smtp": "250"}), (2, {"code": "250"})):
            mail = email_id(ids[version], e.Kind.NOTIFICATION, "gone")
            data = {"email_id": mail, "kind": "notification", "attempt": 1, "reply": "ok", "message_id": "m", **code}
            await raw.xadd(keys.stream(0, keys.OUTCOMES), old("EmailSent", version, data, ids[version]))
        await house.settled()
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish")

        # fan-out and mailer: each lead reached its subscriber and itself, by its name of today
        assert len(house.to("sub@example.com")) == 5
        for words in (b"Ann One", b"Ben Two", b"Cy Three", b"Di Four", b"Eve Today"):
            assert any(words in mail.data for mail in house.to("sub@example.com"))
        assert len(house.to("ann@example.com")) == 1
        assert await raw.xlen(keys.stream(0, keys.DEAD)) == 0
        stored = {fields[b"v"] for _, fields in await raw.xrange(keys.stream(0, keys.LEADS))}
        assert stored == {b"1", b"2", b"3", b"4", b"5"}
        assert {f[b"v"] for _, f in await raw.xrange(keys.stream(0, keys.OUTCOMES)) if f[b"type"] == b"EmailSent"} == {
            b"1", b"2", b"3",
        }  # fmt: skip

        # projections, counted live and anew; views
        for generation in (1, 2):
            found = await raw.hgetall(keys.projection(0, "totals", generation))
            assert (found[b"leads"], found[b"sent"]) == (b"5", b"12")
            if generation == 1:
                await rebuild(client, PROJECTIONS, 1)
        for lead_id in (*ids.values(), today):
            answer = await house.api.get(f"/leads/{lead_id}")
            assert answer.status_code == 200, answer.text
        page = (await house.api.get(f"/leads/{ids[1]}")).json()
        assert "Ann One" in json.dumps(page)

    # commands: verify counts again by other code, export keeps what was stored and whoever reads that upcasts it
    capsys.readouterr()
    assert await asyncio.to_thread(run, ("projections", "verify")) == 0
    assert await asyncio.to_thread(run, ("export", str(tmp_path / "out.jsonl"), "--pii")) == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    leads = [each for each in lines if each["type"] == "leadstream.LeadReceived"]
    assert [each["dataschema"][-1] for each in leads] == ["1", "2", "3", "4", "5"]
    names = [from_cloudevent(each).data.model_dump()["lead"]["full_name"] for each in leads[:4]]
    assert names == ["Ann One", "Ben Two", "Cy Three", "Di Four"]
    capsys.readouterr()
    assert await asyncio.to_thread(run, ("replay", "--since", "1d", "--handler", "fanout", "--dry-run", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == []
    await client.aclose()

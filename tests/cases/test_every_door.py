"""The siblings of cases 001 to 003: what is dangerous in a name is dangerous in every field, by every door.

Doors: JSON, web form, multipart form, batch line, subscribers and suppressions over HTTP, imported CSV, templates.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from leadstream_api.forms import lead_from_fields
from leadstream_events import keys
from leadstream_events.schemas.lead import Lead
from leadstream_events.settings import Settings
from tests.cases.pipeline import LEAD, assert_ordinary, pipeline, subject
from tests.cases.test_hostile_input import FORGED
from tests.integration.api.conftest import api_client
from tests.integration.cli.conftest import Cli, cli
from tests.unit.mailer.mails import mailbox

__all__ = ["cli"]

VEHICLE = {"year": 2021, "make": "Example", "model": "Wagon"}
CONTROLS = ("\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1b", "\x7f", "\x85", "\u2028", "\u2029")
SPELLINGS = [f"Dana{control}Bcc: spy@example.com" for control in CONTROLS] + ["Dana\n", "\rDana"]
LINES: list[tuple[str | int, ...]] = [
    *(("full_name",), ("email",), ("phone_number",), ("address",), ("city",), ("state",), ("zip_code",), ("source",)),
    *(("birth_date",), ("vehicles", 0, "make"), ("vehicles", 0, "model"), ("vehicles", 0, "vin")),
    *(("consent", "url"), ("consent", "ip"), ("consent", "user_agent"), ("consent", "time")),
]


def lead_with(path: tuple[str | int, ...], value: str) -> dict[str, Any]:
    lead: dict[str, Any] = LEAD | {"vehicles": [dict(VEHICLE)], "consent": {}}
    place: Any = lead
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return lead


def form_with(path: tuple[str | int, ...], value: str) -> dict[str, str]:
    form = LEAD | {f"vehicles[0][{name}]": str(item) for name, item in VEHICLE.items()}
    return form | {str(path[0]) + "".join(f"[{part}]" for part in path[1:]): value}


def named(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("path", LINES, ids=lambda path: ".".join(map(str, path)))
async def test_a_control_character_in_a_line_is_refused_by_name_at_every_door_and_nothing_is_stored(
    settings: Settings, raw: Redis, path: tuple[str | int, ...]
) -> None:
    field = ".".join(map(str, path))
    async with api_client(settings) as api:
        for value in SPELLINGS:
            lead, form = lead_with(path, value), form_with(path, value)
            assert named(await api.post("/leads", json=lead)) == [field]
            assert named(await api.post("/leads", data=form)) == [field]
            multipart = {name: (None, item.encode()) for name, item in form.items()}
            assert named(await api.post("/leads", files=multipart)) == [field]
            batch = await api.post(
                "/leads/batch", content=json.dumps(lead), headers={"content-type": "application/x-ndjson"}
            )
            refused = json.loads(batch.text)
            assert (refused["status"], refused["errors"][0]["field"]) == (422, field)
    assert not await raw.exists(keys.stream(0, keys.LEADS))


@pytest.mark.parametrize("value", SPELLINGS)
async def test_a_control_character_in_a_key_of_metadata_is_refused(settings: Settings, value: str) -> None:
    async with api_client(settings) as api:
        assert named(await api.post("/leads", json=LEAD | {"metadata": {value: "x"}})) == ["metadata"]


@pytest.mark.parametrize("value", SPELLINGS)
def test_a_control_character_in_the_name_of_an_unknown_form_field_is_taken_out(value: str) -> None:
    """A site's stray field must not lose the lead."""
    data = lead_from_fields([*LEAD.items(), (value, "x"), ("note", value)]).data
    lead = Lead.model_validate(data)
    assert len(lead.metadata) == 2
    shown = "".join(map(str, (*lead.metadata, *lead.metadata.values())))
    assert not set(CONTROLS[1:]) & set(shown)
    assert "\n" not in "".join(lead.metadata)


@pytest.mark.parametrize("value", SPELLINGS)
async def test_a_control_character_in_a_subscriber_or_a_suppression_is_refused_by_name(
    settings: Settings, raw: Redis, value: str
) -> None:
    async with api_client(settings) as api:
        good = (await api.post("/subscribers", json={"email": "s1@example.com", "name": "Sam"})).json()
        length = await raw.xlen(keys.SUBSCRIBER_EVENTS)
        for field in ("name", "email"):
            draft = {"email": "s2@example.com", "name": "Sue"} | {field: value}
            assert named(await api.post("/subscribers", json=draft)) == [field]
            assert named(await api.patch(f"/subscribers/{good['id']}", json={field: value})) == [field]
        for field in ("address", "reason"):
            draft = {"address": "a@example.com", "reason": "x"} | {field: value}
            assert named(await api.post("/suppressions", json=draft)) == [field]
        assert await raw.xlen(keys.SUBSCRIBER_EVENTS) == length


def test_a_control_character_in_an_imported_name_or_address_is_refused_by_name(cli: Cli, tmp_path: Path) -> None:
    """Blanks around a value are no part of it, so breaks at its ends are taken off."""
    path = tmp_path / "subscribers.csv"
    for value in (spelling for spelling in SPELLINGS if spelling.strip() == spelling):
        for field, line in (("name", f's1@example.com,"{value}"'), ("email", f'"{value}",Sam')):
            path.write_text(f"email,name\n{line}\n", newline="")
            said = cli("subscribers", "import", str(path), code=1).out
            assert f": {field}: " in said or "not CSV" in said
    assert cli("subscribers", "list", "--json").json == []


FORGED_TEMPLATES = {
    "encoded word": f"{FORGED} {{{{ lead.full_name }}}}",
    "line feeds": "Subject\r\nBcc: x@example.test\r\n\r\nbody {{ lead.full_name }}\n",
    "other breaks": "Subject\u2028Bcc: x@example.test\x85X: y {{ lead.full_name }}",
}


@pytest.mark.parametrize("source", FORGED_TEMPLATES.values(), ids=FORGED_TEMPLATES.keys())
async def test_a_template_cannot_forge_a_header(settings: Settings, tmp_path: Path, source: str) -> None:
    for name in ("notification", "welcome"):
        for suffix in ("subject.txt", "txt", "html"):
            (tmp_path / f"{name}.{suffix}").write_text(source, newline="")
    async with pipeline(settings.model_copy(update={"templates_dir": tmp_path})) as house:
        await house.subscriber()
        await house.lead(full_name="Dana")
        await house.settled()
        assert sorted(mail.recipients for mail in house.smtp.mails) == [("dana@example.com",), ("s1@example.com",)]
        for mail in house.smtp.mails:
            assert_ordinary(mail)
            assert subject(mail) == " ".join(source.replace("{{ lead.full_name }}", "Dana").split())


async def test_a_forged_name_by_form_batch_and_csv_is_ordinary_mail(
    settings: Settings, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "subscribers.csv").write_text(f'email,name\ns1@example.com,"{FORGED}"\n')
    await asyncio.to_thread(cli, "subscribers", "import", str(tmp_path / "subscribers.csv"))
    async with pipeline(settings.model_copy(update={"welcome": False})) as house:
        lead = LEAD | {"full_name": FORGED}
        await house.api.post("/leads", data=lead)
        await house.api.post("/leads", files={name: (None, value) for name, value in lead.items()})
        ndjson = {"content-type": "application/x-ndjson"}
        await house.api.post("/leads/batch", content=json.dumps(lead), headers=ndjson)
        await house.smtp.wait_for(3)
        await house.settled()
        assert len(house.smtp.mails) == 3
        for mail in house.smtp.mails:
            assert_ordinary(mail)
            assert mail.recipients == ("s1@example.com",)
            assert mailbox(mail.data, "to") == (FORGED, "s1@example.com")
            assert subject(mail) == f"New lead: {FORGED}"

"""The example data: everything in it is accepted as it stands, and it is as varied as real traffic."""

from __future__ import annotations

import csv
import re
import unicodedata
from pathlib import Path

from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import SubscriberDraft

EXAMPLES = Path(__file__).parents[2] / "examples"
LEAD_LINES = (EXAMPLES / "leads.jsonl").read_text(encoding="utf-8").splitlines()
SUBSCRIBERS_TEXT = (EXAMPLES / "subscribers.csv").read_text(encoding="utf-8")


def leads() -> list[Lead]:
    return [Lead.model_validate_json(line, strict=True) for line in LEAD_LINES]


def subscribers() -> list[SubscriberDraft]:
    return [
        SubscriberDraft(
            email=row["email"],
            name=row["name"],
            active=row["active"] == "true",
            states=tuple(filter(None, re.split(r"[|\s]+", row["states"]))),
            leads_purchased=int(row["leads_purchased"]) if row["leads_purchased"] else None,
        )
        for row in csv.DictReader(SUBSCRIBERS_TEXT.splitlines())
    ]


def scripts(name: str) -> set[str]:
    return {unicodedata.name(char).split()[0] for char in name if char.isalpha()}


def test_forty_leads_are_valid_as_they_stand() -> None:
    assert len(leads()) == 40


def test_every_lead_has_an_address_of_its_own() -> None:
    assert len({lead.email.casefold() for lead in leads()}) == 40


def test_leads_have_zero_to_five_vehicles() -> None:
    assert {len(lead.vehicles) for lead in leads()} == {0, 1, 2, 3, 4, 5}


def test_leads_come_from_six_states_and_from_none() -> None:
    assert {lead.state for lead in leads()} == {"CA", "NY", "TX", "FL", "IL", "WA", None}


def test_names_are_written_in_many_scripts_also_from_right_to_left() -> None:
    found = set().union(*(scripts(lead.full_name) for lead in leads()))
    assert found >= {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "CJK", "HANGUL", "DEVANAGARI", "THAI"}


def test_addresses_have_plus_tags_and_an_international_domain() -> None:
    addresses = [lead.email for lead in leads()]
    assert sum("+" in address for address in addresses) >= 2
    assert any(not address.isascii() for address in addresses)


def test_metadata_and_consent_hold_long_text_and_every_kind_of_scalar() -> None:
    values = [value for lead in leads() for value in lead.metadata.values()]
    assert {type(value) for value in values} == {str, int, float, bool, type(None)}
    assert any(isinstance(value, str) and len(value) > 4_000 for value in values)
    assert any(isinstance(value, str) and "\n" in value for value in values)
    assert any(lead.consent and len(lead.consent.text or "") > 2_000 for lead in leads())


def test_eight_subscribers_with_and_without_limits_and_states() -> None:
    found = subscribers()
    assert len(found) == len({each.email for each in found}) == 8
    assert [each.active for each in found].count(False) == 1
    assert {each.leads_purchased for each in found} == {None, 0, 3, 10}
    assert any(not each.name.isascii() for each in found)
    assert any(len(each.states) > 1 for each in found)
    assert any(not each.states for each in found)


def test_a_purchase_limit_runs_out_and_another_one_does_not() -> None:
    def due(each: SubscriberDraft) -> int:
        return sum(not each.states or lead.state in each.states for lead in leads())

    limited = [each for each in subscribers() if each.leads_purchased]
    assert any(due(each) > (each.leads_purchased or 0) for each in limited)
    assert any(due(each) <= (each.leads_purchased or 0) for each in limited)


def test_no_example_could_reach_anybody() -> None:
    text = "\n".join(LEAD_LINES) + SUBSCRIBERS_TEXT
    hosts = re.findall(r"(?:@|://)([^\s\",/?>]+)", text)
    assert len(hosts) > 48
    assert all(re.fullmatch(r"(.+\.)?(example\.com|example|test)", host) for host in hosts), hosts
    for lead in leads():
        assert lead.phone_number is None or "555" in lead.phone_number
        ip = lead.consent.ip if lead.consent else None
        assert ip is None or ip.startswith(("192.0.2.", "2001:db8:"))  # RFC 5737, RFC 3849

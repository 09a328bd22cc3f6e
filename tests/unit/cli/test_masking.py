"""No personal data leaves a command unless it was asked for."""

from __future__ import annotations

import json

from leadstream_cli.raw_entry import raw_entry
from leadstream_events.masking import mask, mask_address, mask_text

LEAD = {
    "full_name": "Maria Delgado",
    "email": "maria.delgado@example.com",
    "phone_number": "+1 555 010 0001",
    "address": "113 Main Street",
    "city": "San Diego",
    "state": "CA",
    "zip_code": "92101",
    "birth_date": "1963-02-06",
    "vehicles": [{"year": 2023, "make": "Tesla", "model": "Model 3", "vin": "1M8GDM9AXKP042788"}],
    "consent": {"ip": "192.0.2.1", "text": "I agree"},
    "metadata": {"note": "call after six"},
    "future_field": "hush",
}
SECRETS = ("Maria", "maria", "Delgado", "0001", "113", "San Diego", "92101", "1963", "KP042", "192.0.2", "six", "hush")


def test_nothing_personal_is_left_of_a_lead() -> None:
    text = json.dumps(mask({"lead": LEAD}))
    assert [secret for secret in SECRETS if secret in text] == []
    assert mask({"lead": LEAD})["lead"]["state"] == "CA"
    assert mask({"lead": LEAD})["lead"]["vehicles"][0]["make"] == "Tesla"


def test_an_address_keeps_its_first_letter_and_its_domain() -> None:
    assert mask_address("maria.delgado@example.com") == "m***@example.com"


def test_addresses_that_smtp_replies_quote_are_masked() -> None:
    assert mask_text("550 5.1.1 <bob@example.com>: no such user") == "550 5.1.1 <b***@example.com>: no such user"


def test_lists_of_recipients_are_masked_one_by_one() -> None:
    assert mask({"recipients": ["ann@example.com"]}) == {"recipients": ["a***@example.com"]}


def test_ids_and_counts_stay_as_they_are() -> None:
    row = {"email_id": "0b6c", "kind": "welcome", "attempt": 2, "code": 450, "next_attempt_at": "2026-01-01T00:00:00Z"}
    assert mask(row) == row


def test_a_dead_letter_hides_the_lead_inside_it() -> None:
    inner = {"type": "LeadReceived", "data": json.dumps({"lead": LEAD})}
    data = json.dumps({"cause": "poison", "encoding": "utf-8", "fields": inner})
    entry = raw_entry("leadstream:{0}:dead", 0, b"1-0", {b"type": b"EntryDeadLettered", b"data": data.encode()})
    text = json.dumps(mask(entry.row()))
    assert [secret for secret in SECRETS if secret in text] == []


def test_what_cannot_be_read_is_hidden_altogether() -> None:
    entry = raw_entry("leadstream:{0}:leads", 0, b"1-0", {b"data": b"\xffMaria Delgado", b"x": b"Maria"})
    text = json.dumps(mask(entry.row()))
    assert "Maria" not in text.replace("M***", "")
    base64_row = {"encoding": "base64", "fields": {"ZGF0YQ==": "TWFyaWE="}}
    assert "TWFyaWE" not in json.dumps(mask(base64_row))


def test_the_digest_of_an_address_is_shown_so_that_it_can_be_released() -> None:
    digest = "hmac:" + "0" * 32
    assert mask({"address": digest}) == {"address": digest}

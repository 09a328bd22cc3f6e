"""Any Unicode in any field, even what the schema refuses: a mail with our headers that every parser reads alike."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from leadstream_events.errors import Permanent
from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.lead import Lead
from tests.cases.pipeline import subject_of
from tests.fuzz.depth import depth
from tests.fuzz.texts import SCALAR, TEXT, lead_values
from tests.unit.mailer.mails import (
    FIXED,
    MESSAGE_ID,
    NOW,
    WELCOME_FIXED,
    a_lead,
    assert_wire_safe,
    header_names,
    mailbox,
    parsed,
    parts,
    prepared,
)

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
LEADS = lead_values(TEXT, st.integers(0, 3000))


def unchecked(values: dict[str, Any]) -> Lead:
    """A lead with these texts, valid or not: an event of another origin may hold anything."""
    base = a_lead(vehicles=[{"year": 2021, "make": "x", "model": "y"}], consent={"text": "x"})
    assert base.consent is not None
    vehicles = tuple(base.vehicles[0].model_copy(update=vehicle) for vehicle in values.pop("vehicles", ()))
    consent = {name: text for name, text in values.pop("consent", {}).items() if name != "time"}
    values.pop("birth_date", None)
    values["is_homeowner"] = bool(values.get("is_homeowner"))
    return base.model_copy(
        update=values | {"vehicles": vehicles, "consent": base.consent.model_copy(update=consent) if consent else None}
    )


def read(text: str) -> str:
    """What a reader sees of a display name or a subject: controls are blanks to us."""
    return CONTROLS.sub(" ", text)


def test_any_text_in_any_field_is_one_mail_that_every_parser_reads_alike(
    record_property: Callable[[str, object], None],
) -> None:
    tried = 0

    @depth(usual=120, fuzz=4_500)
    @given(values=LEADS, name=st.none() | TEXT, kind=st.sampled_from(Kind))
    def check(values: dict[str, Any], name: str | None, kind: Kind) -> None:
        nonlocal tried
        tried += 1
        mail = prepared(unchecked(dict(values)), kind)
        data = mail.for_recipient(name=name, address="s1@example.com", message_id=MESSAGE_ID, date=NOW).data
        assert header_names(data) == (FIXED if kind is Kind.NOTIFICATION else WELCOME_FIXED)
        assert_wire_safe(data)
        assert data.isascii()
        head = data.partition(b"\r\n\r\n")[0]
        assert max(map(len, head.split(b"\r\n"))) <= 998
        assert mailbox(data, "to") == (read(name or ""), "s1@example.com")
        assert subject_of(data) == read(mail.rendered.subject)
        unix = (text.replace("\r\n", "\n").replace("\r", "\n") for text in (mail.rendered.text, mail.rendered.html))
        assert [part.removesuffix("\n") for part in parts(data)] == [text.removesuffix("\n") for text in unix]
        for policy in (email.policy.default, email.policy.compat32, email.policy.SMTP):
            message: Any = email.message_from_bytes(data, policy=policy)
            assert not message.defects
            assert [key.lower() for key in message] == header_names(data)
            assert [part.get_content_type() for part in message.get_payload()] == ["text/plain", "text/html"]
        assert [entry.addr_spec for entry in parsed(data)["to"].addresses] == ["s1@example.com"]

    check()
    record_property("examples", tried)


def test_any_address_is_sent_to_as_it_stands_or_is_permanent(record_property: Callable[[str, object], None]) -> None:
    tried = 0
    mail = prepared(a_lead())

    @depth(usual=200, fuzz=2_000)
    @given(local=TEXT, domain=st.one_of(TEXT, st.sampled_from(["example.com", "bücher.example", "xn--a", "a..b", ""])))
    def check(local: str, domain: str) -> None:
        nonlocal tried
        tried += 1
        address = f"{local}@{domain}"
        try:
            built = mail.for_recipient(name="Sam", address=address, message_id=MESSAGE_ID, date=NOW)
        except Permanent as error:
            assert error.cause == "unsendable_address"
            return
        assert not set(built.envelope_to) & set(' <>\r\n\t"(),:;[]\\')
        assert built.envelope_to.rpartition("@")[0] == address.rpartition("@")[0]
        assert header_names(built.data) == FIXED
        assert f"To: Sam <{built.envelope_to}>\r\n" in built.data.decode().replace("\r\n <", " <")
        assert built.needs_smtputf8 != built.envelope_to.isascii()

    check()
    record_property("examples", tried)


def test_whatever_the_schema_takes_holds_no_control_character_and_no_override(
    record_property: Callable[[str, object], None],
) -> None:
    tried = 0

    @depth(usual=200, fuzz=2_000)
    @given(values=lead_values(TEXT, SCALAR))
    def check(values: dict[str, Any]) -> None:
        nonlocal tried
        tried += 1
        try:
            lead = Lead.model_validate(values)
        except ValidationError:
            return
        dumped = lead.model_dump(mode="json")
        multi = [(dumped["consent"] or {}).pop("text", None), *dumped["metadata"].values()]
        dumped["metadata"] = list(dumped["metadata"])
        for text in texts_of(multi):
            assert not HIDDEN.search(text.replace("\n", "").replace("\t", ""))
        for text in texts_of(dumped):
            assert not HIDDEN.search(text)
        assert Lead.model_validate_json(lead.model_dump_json()) == lead

    check()
    record_property("examples", tried)


def texts_of(value: Any) -> list[str]:
    """Every text in a structure."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in texts_of(item)]

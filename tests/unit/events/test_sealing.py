"""Sealing: what was sealed opens under its own key, for its own lead and field, and otherwise not at all."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events import sealing
from leadstream_events.envelope import decode, encode, make_event
from leadstream_events.errors import Malformed
from leadstream_events.schemas.events import EmailRequested, LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.sealed import Locked, Sealed
from leadstream_events.sealed_leads import open_lead, seal_lead
from leadstream_events.sealing import ERASED, KeyMissing, KeyRing, parse_keys

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OLD, NEW = KeyRing({"old": bytes(range(32))}), KeyRing({"new": bytes(32), "old": bytes(range(32))})
DANA = Lead(full_name="Dana Example", email="dana@example.com", metadata={"a": 1})
LINE = base64.b64encode(bytes(32)).decode()


def received(lead_id: str = "lead-1") -> LeadReceived:
    return LeadReceived(lead=DANA)


@given(st.binary(max_size=2_000), st.text(max_size=40), st.sampled_from([KeyRing(), OLD, NEW]))
def test_what_is_sealed_opens_again_and_its_key_comes_back(plain: bytes, lead: str, ring: KeyRing) -> None:
    key = sealing.new_key()
    stored = sealing.wrap(key, lead, ring)
    assert sealing.unwrap(stored, lead, ring) == (key,)
    assert sealing.open_sealed([key], lead, sealing.seal(key, lead, plain)) == plain


def test_a_sealed_text_of_another_lead_or_field_or_one_that_was_changed_is_malformed() -> None:
    key = sealing.new_key()
    sealed = sealing.seal(key, "lead-1", b"Dana")
    changed = sealed[:-4] + ("AAAA" if sealed[-4:] != "AAAA" else "BBBB")
    for lead, text, name in (("lead-2", sealed, "lead"), ("lead-1", sealed, "to"), ("lead-1", changed, "lead")):
        with pytest.raises(Malformed) as caught:
            sealing.open_sealed([key], lead, text, name)
        assert caught.value.cause == "bad_seal"
    for junk in ("", "AA==", "no base64 at all", "é"):
        with pytest.raises(Malformed):
            sealing.open_sealed([key], "lead-1", junk)


def test_the_same_lead_never_looks_the_same_twice() -> None:
    event = make_event(received(), subject="lead-1", now=NOW)
    found = [seal_lead(event, KeyRing()) for _ in range(20)]
    assert len({encode(each.event)["data"] for each in found}) == len({each.key for each in found}) == 20
    assert not any("Dana" in text or "dana" in text for each in found for text in encode(each.event).values())


def test_a_wrapped_key_fits_its_own_lead_only() -> None:
    stored = sealing.wrap(sealing.new_key(), "lead-1", OLD)
    with pytest.raises(KeyMissing):
        sealing.unwrap(stored, "lead-2", OLD)


def test_two_bodies_under_one_lead_have_two_keys_and_both_open() -> None:
    events = [seal_lead(make_event(received(), subject="lead-1", now=NOW), OLD) for _ in range(2)]
    both = " ".join(each.key for each in events)
    for each in events:
        opened = open_lead(each.event, both, NEW).data
        assert isinstance(opened, LeadReceived) and opened.lead == DANA


def test_an_erased_lead_stays_sealed_and_one_without_its_kek_is_locked() -> None:
    each = seal_lead(make_event(received(), subject="lead-1", now=NOW), NEW)
    for stored in (None, "", ERASED):
        data = open_lead(each.event, stored, NEW).data
        assert isinstance(data, LeadReceived) and type(data.lead) is Sealed
    data = open_lead(each.event, each.key, OLD).data
    assert isinstance(data, LeadReceived) and isinstance(data.lead, Locked) and data.lead.kek == "new"


def test_rewrapping_keeps_the_keys_and_leaves_an_erased_one_erased() -> None:
    key = sealing.new_key()
    stored = sealing.rewrap(f"{sealing.wrap(key, 'x', OLD)} {sealing.wrap(key, 'x', KeyRing())}", "x", NEW)
    assert sealing.wrapped_by(stored) == ("new", "new")
    assert sealing.unwrap(stored, "x", NEW) == (key, key)
    assert sealing.rewrap(ERASED, "x", NEW) == ERASED


def test_leads_and_requests_of_version_1_are_read_as_they_were() -> None:
    request = '{"email_id":"m","kind":"welcome","to":"dana@example.com","lead_entry":"1-0"}'
    for kind, data in (("LeadReceived", LeadReceived(lead=DANA).model_dump_json()), ("EmailRequested", request)):
        fields = {b"id": b"1", b"type": kind.encode(), b"v": b"1", b"time": b"2026-01-02T03:04:05Z", b"subject": b"x"}
        event = decode(fields | {b"data": data.encode()})
        if isinstance(event.data, EmailRequested):
            assert event.data.to == "dana@example.com"
        else:
            assert isinstance(event.data, LeadReceived) and event.data.lead == DANA
        assert encode(event)["v"] == "2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no key"),
        ("# only a comment\n", "holds no key"),
        (f"k1 {LINE}\nk1 {LINE}", "line 2: the id k1 stands there twice"),
        ("k1", "line 1 must be"),
        (f"k 1 {LINE}", "line 1 must be"),
        (f"k:1 {LINE}", "line 1 must be"),
        ("k1 AAAA", "line 1: the key must be 32 bytes"),
        (f"\n- {LINE}", "line 2 must be"),
    ],
)
def test_a_wrong_keys_file_names_the_line_and_quotes_no_key(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse_keys(text)
    assert LINE not in str(caught.value)


def test_the_first_key_of_the_file_wraps() -> None:
    ring = parse_keys(f"# newest first\nk2 {LINE}\n\nk1 {base64.b64encode(bytes(range(32))).decode()}  # old\n")
    assert (ring.newest, list(ring.keys)) == ("k2", ["k2", "k1"])
    assert LINE not in repr(ring)

"""Identifiers and key names: stable for ever, because stored data depends on them."""

from __future__ import annotations

import uuid
from collections import Counter

from leadstream_events import keys
from leadstream_events.ids import email_id, lead_id_for_key, message_id, new_id, partition_of, uuid_bytes


def test_fresh_ids_are_uuid7_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert {uuid.UUID(item).version for item in ids} == {7}
    assert [item[:13] for item in ids] == sorted(item[:13] for item in ids)


def test_derived_ids_never_change() -> None:
    assert lead_id_for_key("", "key") == str(uuid.uuid5(uuid.UUID("6f3b1a52-4a8e-5d0c-9b61-0c5f3f6f7a11"), "\x00key"))
    assert email_id("lead", "welcome", "lead") == str(
        uuid.uuid5(uuid.UUID("b1d7c9de-0f2a-5b7e-8a44-7f2a4f1d9c02"), "lead\x00welcome\x00lead")
    )


def test_scopes_and_parts_do_not_run_into_each_other() -> None:
    assert lead_id_for_key("a", "bc") != lead_id_for_key("ab", "c")
    assert email_id("a", "bc", "d") != email_id("ab", "c", "d")


def test_a_message_id_is_that_of_the_mail_at_the_senders_domain() -> None:
    assert message_id("mail", "leads@example.com") == "<mail@example.com>"
    assert message_id("mail", "leads") == "<mail@leads>"


def test_a_partition_is_stable_and_leads_spread_evenly() -> None:
    assert {partition_of(f"lead-{n}", 1) for n in range(50)} == {0}
    assert [partition_of(f"lead-{n}", 8) for n in range(6)] == [partition_of(f"lead-{n}", 8) for n in range(6)]
    spread = Counter(partition_of(f"lead-{n}", 8) for n in range(8_000))
    assert set(spread) == set(range(8))
    assert min(spread.values()) > 800


def test_all_keys_of_a_partition_share_its_hash_tag() -> None:
    names = [
        *(keys.stream(3, name) for name in keys.STREAMS),
        keys.ledger(3, "lead"),
        keys.due(3, keys.MAILER),
        keys.checkpoints(3),
        keys.projection(3, "totals", 1),
        keys.projection_pointer(3),
    ]
    assert all(name.startswith("leadstream:{3}:") for name in names)
    assert len(set(names)) == len(names)
    assert keys.name_of(keys.stream(3, keys.EMAILS)) == "emails"


def test_the_octets_of_a_uuid_are_those_of_its_usual_spelling_only() -> None:
    value = uuid.uuid4()
    assert uuid_bytes(str(value)) == value.bytes
    for other in ("", "x", value.hex, str(value).upper(), f"{{{value}}}", f"{value}\n", str(value)[:-1] + "ä"):
        assert uuid_bytes(other) is None


def test_a_mails_id_is_the_uuid_that_the_rfc_derives() -> None:
    expected = uuid.uuid5(uuid.UUID("b1d7c9de-0f2a-5b7e-8a44-7f2a4f1d9c02"), "lead\x00welcome\x00who")
    assert email_id("lead", "welcome", "who") == str(expected)

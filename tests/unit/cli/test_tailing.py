"""Times and filters as people type them."""

from __future__ import annotations

import pytest

from leadstream_cli.raw_entry import raw_entry
from leadstream_cli.tailing import Wanted, parse_since

NOW_MS = 1_800_000_000_000
ENTRY = raw_entry(
    "leadstream:{0}:leads",
    0,
    b"1-0",
    {b"type": b"LeadReceived", b"subject": b"abc", b"data": b'{"lead": {"state": "CA", "is_homeowner": true}}'},
)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("10m", str(NOW_MS - 600_000)),
        ("500ms", str(NOW_MS - 500)),
        ("2h", str(NOW_MS - 7_200_000)),
        ("1700000000000-5", "1700000000000-5"),
        ("1700000000000", "1700000000000"),
        ("2026-01-31T09:00:00Z", "1769850000000"),
        ("2026-01-31T10:00:00+01:00", "1769850000000"),
        ("2026-01-31", "1769817600000"),
    ],
)
def test_a_span_an_id_or_a_time_says_where_to_start(text: str, start: str) -> None:
    assert parse_since(text, NOW_MS) == start


@pytest.mark.parametrize("text", ["soon", "10", "-5m", "10 m", "2026-13-01"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="a span such as 10m"):
        parse_since(text, NOW_MS)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ((("state", "CA"),), True),
        ((("state", "ca"),), True),
        ((("lead.state", "CA"),), True),
        ((("subject", "abc"),), True),
        ((("is_homeowner", "true"),), True),
        ((("state", "CA"), ("is_homeowner", "false")), False),
        ((("state", "NY"),), False),
        ((("nothing", "CA"),), False),
    ],
)
def test_fields_are_found_wherever_they_stand(where: tuple[tuple[str, str], ...], kept: bool) -> None:
    assert Wanted(where=where).keeps(ENTRY) is kept


def test_types_are_compared_without_case() -> None:
    assert Wanted(types=frozenset({"leadreceived"})).keeps(ENTRY)
    assert not Wanted(types=frozenset({"emailsent"})).keeps(ENTRY)

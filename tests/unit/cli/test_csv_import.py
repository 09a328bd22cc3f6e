"""Good lines of a CSV are taken, bad ones name the field."""

from __future__ import annotations

import pytest

from leadstream_cli.csv_import import BadLine, Line, read_subscribers
from leadstream_events.errors import LeadstreamError

HEAD = "email,name,active,states,leads_purchased\n"


def read(text: str) -> list[Line | BadLine]:
    return list(read_subscribers(text.splitlines(keepends=True)))


def test_a_line_becomes_a_draft() -> None:
    (line,) = read(HEAD + 'ann@example.com,"Ann, Inc.",true,ca|WA,10\n')
    assert isinstance(line, Line)
    assert line.draft.model_dump() == {
        "email": "ann@example.com",
        "name": "Ann, Inc.",
        "active": True,
        "states": ("CA", "WA"),
        "leads_purchased": 10,
        "format": "html",
    }


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("nobody,Ann,true,,", "email"),
        ("ann@example.com,,true,,", "name"),
        ("ann@example.com,Ann,perhaps,,", "active"),
        ("ann@example.com,Ann,true,California,", "states"),
        ("ann@example.com,Ann,true,,-1", "leads_purchased"),
        ("ann@example.com,Ann,true,,ten", "leads_purchased"),
        ("ann@example.com,Ann,true,CA,WA,3", "more fields than columns"),
    ],
)
def test_a_bad_line_names_its_field_and_good_ones_are_taken(line: str, field: str) -> None:
    good, bad = read(HEAD + "bob@example.com,Bob,true,,\n" + line + "\n")
    assert isinstance(good, Line)
    assert isinstance(bad, BadLine)
    assert bad.number == 3
    assert field in bad.problem


def test_the_same_address_twice_is_bad_the_second_time() -> None:
    first, second = read(HEAD + "ann@example.com,Ann,true,,\nANN@example.com,Ann,false,,\n")
    assert isinstance(first, Line)
    assert isinstance(second, BadLine)
    assert "line 2 has the same address" in second.problem


def test_columns_that_are_not_in_the_file_stay_as_they_are() -> None:
    (line,) = read("\ufeffemail,name\nann@example.com,Ann\n")
    assert isinstance(line, Line)
    assert line.patch.model_dump(exclude_unset=True) == {"email": "ann@example.com", "name": "Ann"}


@pytest.mark.parametrize("head", ["email,name,color\n", "email\n", "name\n", "", "email,name,name\n"])
def test_wrong_columns_are_refused_with_the_right_ones(head: str) -> None:
    with pytest.raises(LeadstreamError, match="the columns must be email, name, active, states, leads_purchased"):
        read(head + "ann@example.com,Ann\n")

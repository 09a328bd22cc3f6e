"""Tables fit the terminal, whole values go into pipes, and no stored text steers the terminal."""

from __future__ import annotations

import pytest

from leadstream_cli.output import Column, age, cells, layout, printable, stamp, text_of

COLUMNS = (Column("a", "NAME"), Column("b", "COUNT", right=True))


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def test_into_a_pipe_nothing_is_cut() -> None:
    lines = layout([["x" * 300, "1"]], COLUMNS, None)
    assert "x" * 300 in lines[1]


@pytest.mark.parametrize("width", [20, 30, 80])
def test_on_a_terminal_no_line_is_wider_than_it(width: int) -> None:
    lines = layout([["name " * 40, "1"], ["山田花子" * 20, "12345"]], COLUMNS, width)
    assert all(cells(line) <= width for line in lines)
    assert "…" in lines[1]


def test_columns_that_cannot_fit_become_a_line_per_field() -> None:
    many = [Column("x", f"COLUMN{number}") for number in range(10)]
    lines = layout([["value" * 20] * 10, ["y"] * 10], many, 30)
    assert len(lines) == 21
    assert all(cells(line) <= 30 for line in lines)


def test_wide_characters_take_two_cells_and_columns_stay_aligned() -> None:
    lines = layout([["李小龍", "1"], ["Ann", "22"]], COLUMNS, None)
    assert len({cells(line) for line in lines}) == 1


def test_control_and_direction_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b[31mb\u202ec\nd") == "a\ufffd[31mb\ufffdc\ufffdd"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.25, "250ms"), (12, "12s"), (200, "3m20s"), (18_600, "5h10m"), (187_200, "2d4h")],
)
def test_ages_read_like_ages(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


def test_an_absurd_entry_id_shows_no_time_instead_of_failing() -> None:
    assert stamp(2**63) is None
    assert stamp(0) == "1970-01-01T00:00:00.000Z"


def test_a_value_with_names_reads_like_a_list_of_them() -> None:
    assert text_of({"k1": 3, "nothing": 1}) == "k1: 3, nothing: 1"
    assert text_of({}) == "-"

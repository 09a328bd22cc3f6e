"""Writes data to stdout: tables for people, JSON for scripts; masked unless asked otherwise.

On a terminal a table fits its width; into a pipe nothing is cut. Control characters in stored texts never reach the
terminal.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

import rich_click as click

from leadstream_events.masking import mask

P = ParamSpec("P")
R = TypeVar("R")
Row = Mapping[str, Any]

_GAP = 2
_NARROWEST = 6


def text_of(value: object) -> str:
    """A value as a table shows it."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {text_of(each)}" for name, each in value.items()) or "-"
    return str(value)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the key of the row, the title, how a value reads, and its side."""

    key: str
    title: str
    show: Callable[[Any], str] = text_of
    right: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """Where and how a command writes its data."""

    as_json: bool = False
    pii: bool = False

    def clean(self, value: Any, key: str = "") -> Any:
        """The value, masked unless `--pii`."""
        return value if self.pii else mask(value, key)

    def table(self, rows: Sequence[Row], columns: Sequence[Column], empty: str) -> None:
        """Writes rows; `empty` says that there are none, on stderr so that stdout stays countable."""
        cleaned = [self.clean(row) for row in rows]
        if self.as_json:
            emit_json(cleaned)
        elif not cleaned:
            click.echo(empty, err=True)
        else:
            for line in layout([[c.show(row.get(c.key)) for c in columns] for row in cleaned], columns, _width()):
                click.echo(line)

    def record(self, row: Row, columns: Sequence[Column] | None = None) -> None:
        """Writes one thing, a line per field."""
        cleaned = self.clean(row)
        if self.as_json:
            emit_json(cleaned)
            return
        shown = columns or [Column(name, name) for name in cleaned]
        wide = max(len(column.title) for column in shown)
        for column in shown:
            click.echo(f"{column.title:<{wide}}  {printable(column.show(cleaned.get(column.key)))}")

    def line(self, row: Row, text: str) -> None:
        """Writes one item of an endless list: a JSON line, or the text, at once."""
        click.echo(dump(self.clean(row)) if self.as_json else printable(text))


def dump(value: Any) -> str:
    """JSON on one line, in the spelling that people can read."""
    return json.dumps(value, ensure_ascii=False, default=str)


def emit_json(value: Any) -> None:
    """One JSON document, indented."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def printable(text: str) -> str:
    """The text without control and direction characters: a stored name must not steer the terminal."""
    return "".join(char if _harmless(char) else "\ufffd" for char in text)


def _harmless(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _width() -> int | None:
    if not sys.stdout.isatty():
        return None
    return max(20, shutil.get_terminal_size((100, 24)).columns)


def cells(text: str) -> int:
    """How many terminal columns the text takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _fit(text: str, wide: int, right: bool) -> str:
    if cells(text) > wide:
        kept = ""
        for char in text:
            if cells(kept) + cells(char) > wide - 1:
                break
            kept += char
        text = kept + "…"
    blank = " " * (wide - cells(text))
    return blank + text if right else text + blank


def layout(rows: Sequence[Sequence[str]], columns: Sequence[Column], width: int | None) -> list[str]:
    """Returns the lines of a table; with a width, the widest columns give way first, then each row becomes a block."""
    table = [[column.title for column in columns], *([printable(cell) for cell in row] for row in rows)]
    wide = [max(cells(row[at]) for row in table) for at in range(len(columns))]
    if width is not None:
        if sum(min(each, _NARROWEST) for each in wide) + _GAP * (len(wide) - 1) > width:
            return _stacked(table, width)
        while sum(wide) + _GAP * (len(wide) - 1) > width and max(wide) > _NARROWEST:
            wide[wide.index(max(wide))] -= 1
    lines = [
        (" " * _GAP).join(_fit(cell, w, c.right) for cell, w, c in zip(row, wide, columns, strict=True)).rstrip()
        for row in table
    ]
    if width is not None and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        lines[0] = f"\033[1m{lines[0]}\033[0m"
    return lines


def _stacked(table: Sequence[Sequence[str]], width: int) -> list[str]:
    """One line per field, a blank line between rows: for terminals that are too narrow for columns."""
    titles, *rows = table
    left = max(cells(title) for title in titles)
    lines: list[str] = []
    for row in rows:
        lines += [""] if lines else []
        for title, cell in zip(titles, row, strict=True):
            room = max(1, width - left - _GAP)
            lines.append(f"{_fit(title, left, False)}{' ' * _GAP}{_fit(cell, min(cells(cell), room), False)}"[:width])
    return lines


def age(seconds: float | None) -> str:
    """`850ms`, `12s`, `3m20s`, `5h10m`, `2d4h`."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    whole = int(seconds)
    for size, unit, below, below_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size}{unit}" + (f"{rest}{below_unit}" if rest else "")
    return f"{whole}s"


def stamp(milliseconds: int | None) -> str | None:
    """A time in milliseconds since 1970 as RFC 3339 in UTC."""
    if milliseconds is None:
        return None
    try:
        value = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def output_options(command: Callable[P, R]) -> Callable[..., R]:
    """Adds `--json` and `--pii` to a command, which gets them as `out`."""

    @click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
    @click.option("--pii", is_flag=True, help="Show names, addresses and phone numbers in full.")
    @functools.wraps(command)
    def wrapper(*args: Any, as_json: bool, pii: bool, **kwargs: Any) -> R:
        kwargs["out"] = Output(as_json, pii)
        return command(*args, **kwargs)

    return wrapper

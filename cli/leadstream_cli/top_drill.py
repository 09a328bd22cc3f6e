"""What `top` drills down into: a group's pending entries, dead letters by cause, a lead's story."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from leadstream_cli.output import Output, age, printable
from leadstream_cli.pending_query import read_pending
from leadstream_cli.queries import read_streams
from leadstream_cli.story import Story, lead_story_in
from leadstream_cli.story_text import head_lines, moment_lines
from leadstream_events import dead_letters
from leadstream_events.errors import NotFound
from leadstream_events.log import StreamLog
from leadstream_events.server_time import server_ms

_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One row: what Enter leads to, and its cells."""

    target: str
    cells: tuple[str, ...]


Load: TypeAlias = Callable[[], Awaitable[Sequence[Line]]]
Open: TypeAlias = "Callable[[str], Screen[None] | None]"
_BACK: list[BindingType] = [Binding("escape,q,backspace", "app.pop_screen", "Back"), Binding("r", "reload", "Reload")]


class RowTable(DataTable[str | Text]):
    """A table whose footer tells that Enter opens a row."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Open")]


def number(text: str) -> Text:
    """A cell on the right."""
    return Text(text, justify="right")


class TableScreen(Screen[None]):
    """A table that is read once, and again on `r`; Enter opens what a row stands for."""

    BINDINGS: ClassVar[list[BindingType]] = _BACK

    def __init__(self, title: str, columns: Sequence[str], load: Load, open_: Open, empty: str) -> None:
        super().__init__()
        self._title, self._columns, self._load, self._open, self._empty = title, columns, load, open_, empty

    def compose(self) -> ComposeResult:
        yield Static(self._title, classes="title", markup=False)
        yield RowTable(cursor_type="row")
        yield Footer()

    async def on_mount(self) -> None:
        self.query_one(RowTable).add_columns(*self._columns)
        await self.action_reload()

    async def action_reload(self) -> None:
        """Reads the rows again."""
        table = self.query_one(RowTable)
        try:
            lines = await self._load()
        except Exception as error:
            self.app.notify(trouble(error), severity="error")
            return
        table.clear()
        for line in lines:
            table.add_row(*(printable(cell) for cell in line.cells), key=f"{table.row_count} {line.target}")
        self.query_one(".title", Static).update(f"{self._title}: {len(lines) or self._empty}")

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter."""
        target = str(event.row_key.value).partition(" ")[2]
        screen = self._open(target) if target else None
        if screen:
            self.app.push_screen(screen)


class StoryScreen(Screen[None]):
    """A lead's story."""

    BINDINGS: ClassVar[list[BindingType]] = _BACK

    def __init__(self, log: StreamLog, lead_id: str, out: Output) -> None:
        super().__init__()
        self._events, self._lead_id, self._out = log, lead_id, out

    def compose(self) -> ComposeResult:
        yield Static(f"lead {self._lead_id}", classes="title", markup=False)
        with VerticalScroll():
            yield Static("", id="story", markup=False)
        yield Footer()

    async def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        await self.action_reload()

    async def action_reload(self) -> None:
        """Reads the story again."""
        try:
            text = self._text(await lead_story_in(self._events, self._lead_id))
        except NotFound:
            text = "nothing is stored about this lead"
        except Exception as error:
            text = trouble(error)
        self.query_one("#story", Static).update(text)

    def _text(self, story: Story) -> str:
        return "\n".join([*head_lines(story, self._out), "", *moment_lines(story, self._out)])


def trouble(error: Exception) -> str:
    """A Redis error in a few words; a bug passes through."""
    from leadstream_events.redis_client import classify

    known = classify(error)
    if known is None:
        raise error
    return f"Redis: {known.cause.value}"


def pending_screen(log: StreamLog, group: str, out: Output) -> TableScreen:
    """The pending entries of a group; Enter shows the lead."""

    async def load() -> list[Line]:
        streams = await read_streams(log.client, log.partitions)
        items, _ = await read_pending(log.client, streams, group, _LIMIT, await server_ms(log.client))
        return [
            Line(
                item.lead_id,
                (
                    f"{item.stream}/{item.entry}",
                    "-" if item.attempts is None else str(item.attempts),
                    age(item.age_s),
                    str(out.clean(item.last_error or "-")),
                    item.type,
                    item.owner,
                ),
            )
            for item in items
        ]

    columns = ("ENTRY", "TRIES", "AGE", "LAST ERROR", "TYPE", "OWNER")
    return TableScreen(f"pending for {group}", columns, load, _story_of(log, out), "nothing")


def _story_of(log: StreamLog, out: Output) -> Open:
    return lambda lead_id: StoryScreen(log, lead_id, out)


def causes_screen(log: StreamLog, out: Output) -> TableScreen:
    """Dead letters by cause; Enter shows those of a cause."""

    async def load() -> list[Line]:
        found = await dead_letters.tally(log, lambda letter: letter.cause)
        return [Line(kin.key, (kin.key, str(kin.count), _time(kin.oldest), _time(kin.newest))) for kin in found.groups]

    return TableScreen(
        "dead letters",
        ("CAUSE", "COUNT", "OLDEST", "NEWEST"),
        load,
        lambda cause: letters_screen(log, cause, out),
        "none",
    )


def letters_screen(log: StreamLog, cause: str, out: Output) -> TableScreen:
    """The dead letters of a cause; Enter shows the lead."""

    async def load() -> list[Line]:
        lines: list[Line] = []
        async for letter in dead_letters.each(log, lambda letter: letter.cause == cause):
            detail = str(out.clean(letter.data.detail if letter.data else "") or "-")
            cells = (f"{letter.partition}/dead/{letter.entry_id}", letter.group, letter.lead_id, detail)
            lines.append(Line(letter.lead_id, cells))
            if len(lines) == _LIMIT:
                break
        return lines

    columns = ("LETTER", "GROUP", "LEAD", "DETAIL")
    return TableScreen(f"dead letters: {cause}", columns, load, _story_of(log, out), "none")


def _time(value: object) -> str:
    return str(value)[:19]

"""The screen of `top`. Reading only; every number is read anew every few seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DataTable, Footer, Static

from leadstream_cli.output import Output, age
from leadstream_cli.top_data import Snapshot, count_text, look, mail_lines, per_second
from leadstream_cli.top_drill import RowTable, causes_screen, number, pending_screen, trouble
from leadstream_events.limits import Rate
from leadstream_events.log import StreamLog
from leadstream_events.views_flow import Flow

_GROUPS = ("GROUP", "LAG", "BEHIND", "PENDING", "PARKED", "OLDEST", "CONS", "DONE/s")
_STREAMS = ("STREAM", "ENTRIES", "NEW/s", "NEWEST")


class TopApp(App[None]):
    """`every_s` seconds between two readings; `url` is shown, so without its password."""

    TITLE = "leadstream top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    .title { text-style: bold; background: $boost; padding: 0 1; height: 1; }
    #mails { height: 5; padding: 0 1; }
    #groups { height: auto; max-height: 1fr; }
    #streams { height: auto; min-height: 5; }
    .lower { height: auto; }
    DataTable { background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "dead", "Dead letters"),
        Binding("p", "pause", "Pause"),
        Binding("r", "refresh_now", "Refresh"),
        Binding("q,ctrl+c", "quit", "Quit"),
    ]

    def __init__(self, log: StreamLog, rate: Rate | None, url: str, every_s: float, out: Output) -> None:
        super().__init__()
        self._events, self._rate, self._url, self._every_s, self._out = log, rate, url, every_s, out
        self._before: tuple[Flow, datetime] | None = None
        self._paused = False
        self.shot: Snapshot | None = None

    def compose(self) -> ComposeResult:
        yield Static("", id="head", classes="title", markup=False)
        yield Static("", id="mails", markup=False)
        yield RowTable(id="groups", cursor_type="row")
        with Vertical(classes="lower"):
            yield DataTable(id="streams", cursor_type="none", show_cursor=False)
        yield Footer()

    async def on_mount(self) -> None:
        self.query_one("#groups", RowTable).add_columns(*_GROUPS)
        self.query_one("#streams", DataTable).add_columns(*_STREAMS)
        self.query_one("#streams", DataTable).can_focus = False
        self.query_one("#groups").focus()
        self.set_interval(self._every_s, self._tick)
        await self._read()

    async def _tick(self) -> None:
        if not self._paused and len(self.screen_stack) == 1:
            await self._read()

    async def _read(self) -> None:
        now = datetime.now(UTC)
        try:
            shot, found = await look(self._events, self._rate, now, self._before)
        except Exception as error:
            self._head(f"{now:%H:%M:%S}  {trouble(error)}")
            return
        self._before, self.shot = (found, now), shot
        self._head(f"{now:%H:%M:%S} UTC")
        self._show(shot)

    def _head(self, text: str) -> None:
        paused = "  PAUSED" if self._paused else ""
        self.screen_stack[0].query_one("#head", Static).update(f"leadstream top  {self._url}  {text}{paused}")

    def _show(self, shot: Snapshot) -> None:
        base = self.screen_stack[0]
        base.query_one("#mails", Static).update("\n".join(mail_lines(shot)))
        groups = base.query_one("#groups", RowTable)
        at = groups.cursor_row
        groups.clear()
        for line in shot.groups:
            cells = (
                *(count_text(line), age(line.lag_age_s), str(line.pending), str(line.parked)),
                *(age(line.oldest_s), str(line.consumers), per_second(line.per_s)),
            )
            groups.add_row(line.group, *map(number, cells), key=line.group)
        groups.move_cursor(row=min(at, max(0, groups.row_count - 1)))
        streams = base.query_one("#streams", DataTable)
        streams.clear()
        for row in shot.streams:
            streams.add_row(row.stream, *map(number, (str(row.entries), per_second(row.per_s), age(row.newest_s))))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter on a group."""
        if event.data_table.id == "groups" and event.row_key.value:
            self.push_screen(pending_screen(self._events, event.row_key.value, self._out))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of the first screen are for the first screen."""
        return len(self.screen_stack) <= 1 or action not in ("dead", "pause", "refresh_now")

    def action_dead(self) -> None:
        """Dead letters by cause."""
        self.push_screen(causes_screen(self._events, self._out))

    async def action_pause(self) -> None:
        """Stops reading, or goes on."""
        self._paused = not self._paused
        await self._read()

    async def action_refresh_now(self) -> None:
        """Reads now."""
        await self._read()

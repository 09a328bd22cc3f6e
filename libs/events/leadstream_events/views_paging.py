"""Pages through a stream of every partition, newest first, with an opaque cursor.

A page never skips an entry and never shows one twice: entries that arrive meanwhile are newer than the cursor. One
call looks at no more than `scan` entries, so a filter that matches nothing costs a bounded amount of work and then
hands out a cursor to go on from.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from leadstream_events import keys
from leadstream_events.entry_ids import entry_order
from leadstream_events.log import Entry, StreamLog, read_entry

SCAN = 2_000
_CHUNK = 200
_NEWEST, _EXHAUSTED = "+", "-"
_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


class BadCursor(ValueError):
    """The cursor was not made by this deployment."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which entries: stored at or after `since` and before `until` (the time in the entry id, server clock)."""

    since: datetime | None = None
    until: datetime | None = None

    @property
    def first(self) -> str:
        """The lowest entry id, as XREVRANGE takes it."""
        return str(_ms(self.since)) if self.since else "-"

    @property
    def before(self) -> str | None:
        """The lowest entry id that is not in it; None: there is none."""
        if self.until is None:
            return None
        ms = _ms(self.until)
        return f"{ms}-0" if ms else "0-1"

    @property
    def last(self) -> str:
        """The highest entry id, as XREVRANGE takes it."""
        if self.until is None:
            return _NEWEST
        ms = _ms(self.until)
        return f"({ms}-0" if ms else "0-0"  # nothing is older than 0-1, and Redis refuses to go below 0-0


@dataclass(frozen=True, slots=True)
class Found:
    """A page of entries. `cursor` leads to the next one; None: there are no more."""

    entries: tuple[Entry, ...]
    cursor: str | None


def encode_cursor(positions: Sequence[str]) -> str:
    """Returns the cursor for these positions, one per partition."""
    return base64.urlsafe_b64encode(",".join(positions).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, partitions: int) -> list[str]:
    """Returns the positions of a cursor; raises `BadCursor`."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeError, ValueError):
        raise BadCursor("is not a cursor of this API") from None
    positions = raw.split(",")
    if len(positions) != partitions or not all(map(_is_position, positions)):
        raise BadCursor("is not a cursor of this API")
    return positions


def _is_position(text: str) -> bool:
    """An entry id that Redis takes: two 64 bit numbers, and not the 0-0 that no entry has."""
    if text in (_NEWEST, _EXHAUSTED):
        return True
    return bool(_ID.fullmatch(text)) and entry_order(text) > (0, 0) and max(entry_order(text)) < 2**64


def _ms(value: datetime) -> int:
    return max(0, int(value.timestamp() * 1000))


class _Head:
    """One partition's entries, newest first, fetched as they are asked for; in the archive too, if there is one."""

    def __init__(self, log: StreamLog, stream: str, position: str, window: Window) -> None:
        self.position = position
        self._log = log
        self._stream = stream
        self._window = window
        self._waiting: deque[Entry] = deque()
        self._end = position == _EXHAUSTED
        self._pages: AsyncIterator[list[tuple[bytes, dict[bytes, bytes]]]] | None = None

    async def peek(self) -> Entry | None:
        if not self._waiting and not self._end:
            found = await self._more()
            self._waiting.extend(await self._log.opened([read_entry(self._stream, *entry) for entry in found]))
        if not self._waiting:
            self.position = _EXHAUSTED
            return None
        return self._waiting[0]

    async def _more(self) -> Sequence[tuple[bytes, dict[bytes, bytes]]]:
        if self._log.older is not None:
            if self._pages is None:
                before = self._window.before if self.position == _NEWEST else self.position
                first = "0-0" if self._window.first == "-" else self._window.first
                self._pages = self._log.older.newest_of(self._stream, before, first, _CHUNK)
            older = await anext(self._pages, None)
            self._end = older is None
            return older or ()
        last = self._window.last if self.position == _NEWEST else f"({self.position}"
        found: Sequence[tuple[bytes, dict[bytes, bytes]]] = await self._log.client.xrevrange(
            self._stream, last, self._window.first, count=_CHUNK
        )
        self._end = len(found) < _CHUNK
        return found

    @property
    def resume(self) -> str:
        """Where the next page goes on, so that entries which arrive meanwhile are not in it."""
        if self.position != _NEWEST or not self._waiting:
            return self.position
        ms, seq = entry_order(self._waiting[0].entry_id)
        return f"{ms}-{seq + 1}"

    def pop(self) -> None:
        self.position = self._waiting.popleft().entry_id


async def newest_first(
    log: StreamLog,
    stream: str,
    *,
    limit: int,
    cursor: str | None = None,
    window: Window | None = None,
    keep: Callable[[Entry], bool] = lambda entry: True,
    scan: int = SCAN,
) -> Found:
    """Returns up to `limit` entries of `stream` (a short name) that `keep` wants; raises `BadCursor`."""
    positions = decode_cursor(cursor, log.partitions) if cursor is not None else [_NEWEST] * log.partitions
    span = window or Window()
    heads = [_Head(log, keys.stream(number, stream), at, span) for number, at in enumerate(positions)]
    kept: list[Entry] = []
    for _ in range(scan):
        tops = [(head, entry) for head in heads if (entry := await head.peek())]
        if not tops or len(kept) == limit:
            break
        head, entry = max(tops, key=lambda top: entry_order(top[1].entry_id))
        head.pop()
        if keep(entry):
            kept.append(entry)
    exhausted = all([await head.peek() is None for head in heads])
    return Found(tuple(kept), None if exhausted else encode_cursor([head.resume for head in heads]))

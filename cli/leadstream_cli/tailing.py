"""Reads entries of several streams in the order in which they were stored, from the newest end or from a time.

A time is found by its entry id, so only filters look at entries that are not shown; how many at the most is `SCAN`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from leadstream_cli.raw_entry import RawEntry, find_field, raw_entry, same
from leadstream_cli.revealing import reveal
from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.entry_ids import just_before

if TYPE_CHECKING:
    from leadstream_archive.history import History
    from leadstream_events.redis_client import Client

SCAN = 100_000
_PAGE = 500
_BLOCK_MS = 1_000
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}

Place = tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter: any of the types, and every field equal to its value."""

    types: frozenset[str] = frozenset()
    where: tuple[tuple[str, str], ...] = ()

    @property
    def everything(self) -> bool:
        """True when nothing is filtered out."""
        return not self.types and not self.where

    def keeps(self, entry: RawEntry) -> bool:
        """True when the entry is wanted."""
        if self.types and entry.type.casefold() not in self.types:
            return False
        return all(self._has(entry, name, value) for name, value in self.where)

    @staticmethod
    def _has(entry: RawEntry, name: str, value: str) -> bool:
        if entry.fields.get(name) == value:
            return True
        return any(same(found, value) for found in find_field(entry.data, name))


def parse_since(text: str, now_ms: int) -> str:
    """Returns the entry id to start from: a span (`10m`), an entry id, ms or an RFC 3339 time. Raises ValueError."""
    span = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|min|m|h|d)", text)
    if span:
        return str(max(0, int(now_ms - float(span[1]) * _UNITS_MS[span[2]])))
    if re.fullmatch(r"[0-9]{1,20}-[0-9]{1,20}|[0-9]{12,20}", text):
        return text
    try:
        at = datetime.fromisoformat(text)
        return str(max(0, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)))
    except (ValueError, OverflowError):
        raise ValueError("must be a span such as 10m, an entry id, or a time such as 2026-01-31T09:00:00Z") from None


def cancelled() -> bool:
    """True when this task was asked to end: on Python 3.11 redis-py may swallow the exception (`asyncio.wait_for`)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Head:
    """One stream, page by page, forward or backward."""

    def __init__(
        self, client: Client, place: Place, first: str, *, backward: bool, history: History | None = None
    ) -> None:
        self._client, self._place, self._first, self._backward = client, place, first, backward
        self._position = "+" if backward else first
        self._waiting: list[RawEntry] = []
        self._end = False
        # The stream of dead letters holds the open ones; what is archived of it was closed long ago.
        self._history = None if keys.name_of(place[0]) == keys.DEAD else history
        self._pages: AsyncIterator[list[tuple[bytes, dict[bytes, bytes]]]] | None = None

    async def peek(self, page: int) -> RawEntry | None:
        """The next entry of this stream, or None at its end."""
        if not self._waiting and not self._end:
            key, partition = self._place
            found = await (self._from_history(page) if self._history else self._from_stream(page))
            self._waiting = await reveal(self._client, [raw_entry(key, partition, *item) for item in reversed(found)])
            if found:
                self._position = f"({found[-1][0].decode()}"
        return self._waiting[-1] if self._waiting else None

    async def _from_stream(self, page: int) -> Sequence[tuple[bytes, dict[bytes, bytes]]]:
        found: Sequence[tuple[bytes, dict[bytes, bytes]]]
        if self._backward:
            found = await self._client.xrevrange(self._place[0], self._position, self._first, count=page)
        else:
            found = await self._client.xrange(self._place[0], self._position, "+", count=page)
        self._end = len(found) < page
        return found

    async def _from_history(self, page: int) -> Sequence[tuple[bytes, dict[bytes, bytes]]]:
        if self._pages is None:
            assert self._history is not None  # noqa: S101  -- the caller looked
            first = "0-0" if self._first == "-" else self._first
            if self._backward:
                self._pages = self._history.newest_of(self._place[0], None, first, page)
            else:
                self._pages = self._history.pages_of(self._place[0], just_before(first), None, page)
        found = await anext(self._pages, None)
        self._end = found is None
        return found or ()

    def pop(self) -> RawEntry:
        """Takes the entry that `peek` showed."""
        return self._waiting.pop()


async def _merged(
    client: Client, places: Sequence[Place], first: str, history: History | None, *, backward: bool, page: int
) -> AsyncIterator[RawEntry]:
    heads = [_Head(client, place, first, backward=backward, history=history) for place in places]
    while True:
        tops = [(order(top.entry_id), at) for at, head in enumerate(heads) if (top := await head.peek(page))]
        if not tops:
            return
        _, at = max(tops) if backward else min(tops)
        yield heads[at].pop()


def forward(
    client: Client, places: Sequence[Place], first: str, history: History | None = None
) -> AsyncIterator[RawEntry]:
    """Yields every entry from `first` on, oldest first; with a `history` those in the archive too."""
    return _merged(client, places, first, history, backward=False, page=_PAGE)


async def last(
    client: Client,
    places: Sequence[Place],
    count: int,
    wanted: Wanted,
    first: str = "-",
    history: History | None = None,
) -> tuple[list[RawEntry], bool]:
    """Returns the last `count` wanted entries, oldest first, and whether the search ended at `SCAN` entries."""
    kept: list[RawEntry] = []
    looked = 0
    page = min(_PAGE, max(1, count)) if wanted.everything else _PAGE
    if count <= 0:
        return [], False
    async for entry in _merged(client, places, first, history, backward=True, page=page):
        looked += 1
        if wanted.keeps(entry):
            kept.append(entry)
        if len(kept) == count or looked == SCAN:
            break
    return kept[::-1], looked == SCAN and len(kept) < count


async def ends(client: Client, places: Sequence[Place]) -> dict[Place, str]:
    """The newest entry id of each stream: where following starts, read before what is shown first."""
    out = {}
    for place in places:
        found = await client.xrevrange(place[0], count=1)
        out[place] = found[0][0].decode() if found else "0-0"
    return out


async def follow(client: Client, starts: dict[Place, str]) -> AsyncIterator[RawEntry]:
    """Yields entries as they are stored, for ever. One blocking read per stream, as a cluster demands."""
    queue: asyncio.Queue[RawEntry | BaseException] = asyncio.Queue(maxsize=10_000)

    async def watch(place: Place, position: str) -> None:
        try:
            while not cancelled():
                for _, found in await client.xread({place[0]: position}, count=_PAGE, block=_BLOCK_MS) or ():
                    for entry in await reveal(client, [raw_entry(*place, *item) for item in found]):
                        position = entry.entry_id
                        await queue.put(entry)
        except Exception as error:
            await queue.put(error)

    tasks = [asyncio.create_task(watch(*start)) for start in starts.items()]
    try:
        while True:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def summary(data: Any) -> str:
    """What is worth seeing of an event's data, on one line."""
    if not isinstance(data, dict):
        return "" if data is None else str(data)
    source = dict(data)
    for name in ("lead", "subscriber", "suppression"):
        inner = data.get(name)
        source |= inner if isinstance(inner, dict) else {}
    shown = [
        f"{name}={source[name]}"
        for name in (
            *("full_name", "erased", "locked", "name", "address", "email", "state", "kind", "to", "attempt", "code"),
            *("reply", "cause", "reason", "next_attempt_at", "group", "stream", "entry_id", "detail"),
            *("subscriber_id", "by"),
        )
        if source.get(name) not in (None, "")
    ]
    failure = data.get("failure")
    if isinstance(failure, dict):
        shown += [f"{name}={failure[name]}" for name in ("phase", "code", "line") if failure.get(name)]
    return " ".join(shown)

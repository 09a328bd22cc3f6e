"""Reads what is to be exported, in the order of storage, from where an earlier export ended.

A position is the last entry id of each stream: entries of other streams may be stored later under smaller ids, so one
id for all would leave some out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leadstream_cli.cloudevents import NotAnEvent, from_line
from leadstream_cli.queries import short_name
from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.entry_ids import just_before
from leadstream_events.errors import ConfigurationError

if TYPE_CHECKING:
    from leadstream_archive.history import History
    from leadstream_events.vault import Vault

_PAGE = 1_000

Place = tuple[str, int | None]
# Stream key, partition, entry id, fields, and the wrapped key of a sealed lead.
Item = tuple[str, int | None, str, Mapping[bytes, bytes], str | None]


def label(place: Place) -> str:
    """`0/leads`, `subscribers`: a stream in a position."""
    name, partition = short_name(place[0]), place[1]
    return name if partition is None else f"{partition}/{name}"


def position_text(position: Mapping[str, str]) -> str:
    """What `--after` takes."""
    return ",".join(f"{name}={entry}" for name, entry in sorted(position.items()))


def parse_position(text: str) -> dict[str, str]:
    """Reads `--after`: `0/leads=1-0,subscribers=2-0`. ValueError."""
    out = {}
    for part in text.split(","):
        name, equals, entry = part.strip().partition("=")
        if not equals or not name or not entry.replace("-", "", 1).isdigit():
            raise ValueError("must be what an export said at its end, such as 0/leads=1767225600000-0,subscribers=1-0")
        out[name] = entry
    return out


def resume(path: Path) -> dict[str, str]:
    """The position of an export file, less a last line that was cut off; `ConfigurationError` if it is no such file."""
    position: dict[str, str] = {}
    good = 0
    with path.open("rb+") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                item = from_line(line, masked=True)
            except NotAnEvent as error:
                raise ConfigurationError(f"{path}, line {number}: not from an export: {error}") from None
            name = item.stream if item.partition is None else f"{item.partition}/{item.stream}"
            position[name] = item.entry_id
            good += len(line)
        file.truncate(good)
    return position


async def items(
    history: History, places: Sequence[Place], after: Mapping[str, str], since: str, until: str, vault: Vault
) -> AsyncIterator[Item]:
    """Every entry after the position, from `since` to `until`, merged in the order of storage.

    Of the dead letters the open ones: what is archived of them was closed, and must not be opened by an import.
    """
    heads = [_Head(history, vault, place, after.get(label(place)), since, until) for place in places]
    while True:
        tops = [(head.top, at) for at, head in enumerate(heads) if await head.fill()]
        if not tops:
            return
        _, at = min(tops)
        yield heads[at].take()


class _Head:
    """One stream, a page at a time."""

    def __init__(self, history: History, vault: Vault, place: Place, after: str | None, since: str, until: str) -> None:
        self._vault, self._place = vault, place
        start = "0-0" if since == "-" else just_before(since)
        if after is not None and order(after) > order(start):
            start = after
        upto = None if until == "+" else just_before(until.lstrip("("))
        key = place[0]
        source = type(history)(history.client, None) if keys.name_of(key) == keys.DEAD else history
        self._pages = source.pages_of(key, start, upto, _PAGE)
        self._page: list[tuple[bytes, dict[bytes, bytes], str | None]] = []
        self._end = False

    async def fill(self) -> bool:
        if not self._page and not self._end:
            page = await anext(self._pages, None)
            self._end = page is None
            found = page or []
            keys_of = await self._keys([fields for _, fields in found])
            self._page = [(at, fields, key) for (at, fields), key in zip(found, keys_of, strict=True)][::-1]
        return bool(self._page)

    async def _keys(self, page: Sequence[Mapping[bytes, bytes]]) -> list[str | None]:
        """The keys of the leads among these entries."""
        partition = self._place[1]
        if partition is None or short_name(self._place[0]) != keys.LEADS:
            return [None] * len(page)
        return await self._vault.stored_keys([(partition, fields.get(b"subject", b"").decode()) for fields in page])

    @property
    def top(self) -> tuple[int, int]:
        return order(self._page[-1][0].decode())

    def take(self) -> Item:
        entry_id, fields, key = self._page.pop()
        return *self._place, entry_id.decode(), fields, key

"""Finds entries by what is in them, newest first, on the server: a page at a time, so that nobody waits for it.

There is no index of addresses or mail ids. It would cost the projections a write and about a hundred bytes per mail for
ever, and addresses in it would have to be erased with their lead; a search looks at some 700,000 entries a second, and
only hits travel. Leads are sealed, so an address in them is looked for here, after opening them. `SCAN` bounds it per
stream, and the answer says when it ended there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from leadstream_cli.raw_entry import RawEntry, raw_entry
from leadstream_cli.revealing import reveal
from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order

if TYPE_CHECKING:
    from leadstream_archive.history import History
    from leadstream_events.redis_client import Client

SCAN = 1_000_000
# Sealed leads are opened here one by one: an address in them is not found on the server.
SCAN_SEALED = 100_000
PAGE = 1_000

_Page: TypeAlias = tuple[int, bytes, list[RawEntry]]
"""Entries looked at, the last id of them, and those that are wanted."""

# Returns {entries looked at, last id, {id, ...} of entries whose data or subject holds the text}.
_PAGE_WITH = """
local page = redis.call('XREVRANGE', KEYS[1], ARGV[1], '-', 'COUNT', ARGV[2])
local found, lower, find = {}, string.lower, string.find
for number = 1, #page do
  local fields = page[number][2]
  for at = 1, #fields, 2 do
    if (fields[at] == 'data' or fields[at] == 'subject') and find(lower(fields[at + 1]), ARGV[3], 1, true) then
      found[#found + 1] = page[number][1]
      break
    end
  end
end
return {#page, #page > 0 and page[#page][1] or '', found}
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for: a text in one of the `fields` of requests, and of leads as their `email` too if `in_leads`.

    `single`: there can be but one lead.
    """

    text: str
    fields: tuple[str, ...]
    in_leads: bool = False
    single: bool = False

    def holds(self, entry: RawEntry) -> bool:
        """True when the entry is really about it, and does not just quote it."""
        data = entry.data if isinstance(entry.data, dict) else {}
        lead = data.get("lead")
        own = [data.get(name) for name in self.fields]
        own += [lead.get("email")] if self.in_leads and isinstance(lead, dict) else []
        return any(str(value).casefold() == self.text.casefold() for value in own if value is not None)


@dataclass(frozen=True, slots=True)
class Found:
    """The leads that a search found, newest first; `complete` is False when there may be older ones."""

    lead_ids: tuple[str, ...]
    complete: bool


async def leads_about(
    client: Client, partitions: int, wanted: Wanted, limit: int, past: History | None = None
) -> Found:
    """The newest `limit` leads that it is about; with `past` also those in the archive, if there is room for more."""
    hits: dict[str, str] = {}
    complete = True
    for number in range(partitions):
        for name in (keys.LEADS, keys.EMAILS) if wanted.in_leads else (keys.EMAILS,):
            key = keys.stream(number, name)
            search = _newest_opened if name == keys.LEADS else newest_with
            scan = SCAN_SEALED if name == keys.LEADS else SCAN
            entries, whole = await search(client, key, number, wanted.text, wanted.holds, scan, limit + 1)
            if past is not None and whole and len(hits) + len(entries) <= limit and not (wanted.single and entries):
                older, whole = await _archived(past, key, number, wanted)
                entries += older
            complete &= whole
            for entry in entries:
                lead_id = entry.fields.get("subject", "")
                hits[lead_id] = max(hits.get(lead_id, "0-0"), entry.entry_id, key=order)
        if wanted.single and hits:
            return Found(tuple(hits), True)
    newest = sorted(hits, key=lambda lead_id: order(hits[lead_id]), reverse=True)
    return Found(tuple(newest[:limit]), complete and len(newest) <= limit)


async def _archived(past: History, key: str, partition: int, wanted: Wanted) -> tuple[list[RawEntry], bool]:
    """What the newest `SCAN_SEALED` archived entries of a stream hold of it, and whether those are all."""
    out: list[RawEntry] = []
    looked = 0
    async for page in past.archived_newest(key, PAGE):
        opened = await reveal(past.client, [raw_entry(key, partition, *item) for item in page])
        out += [entry for entry in opened if wanted.holds(entry)]
        looked += len(page)
        if wanted.single and out:
            return out, True
        if looked >= SCAN_SEALED:
            return out, False
    return out, True


async def newest_with(
    client: Client,
    key: str,
    partition: int,
    text: str,
    holds: Callable[[RawEntry], bool],
    scan: int,
    leads: int | None = None,
) -> tuple[list[RawEntry], bool]:
    """Entries of the newest `scan` that hold the text and the condition, newest first; and whether that was all.

    Ends early once entries of so many `leads` were found.
    """
    # The server's `lower` knows ASCII only, as does this.
    needle = "".join(char.lower() if char.isascii() else char for char in text)

    async def page(position: str) -> _Page:
        count, last, ids = await client.eval(_PAGE_WITH, 1, key, position, PAGE, needle)
        return int(count), last, await _read(client, key, partition, ids, holds) if ids else []

    return await _newest(page, scan, leads)


async def _newest_opened(
    client: Client,
    key: str,
    partition: int,
    text: str,
    holds: Callable[[RawEntry], bool],
    scan: int,
    leads: int | None = None,
) -> tuple[list[RawEntry], bool]:
    """As `newest_with`, with each lead opened before it is looked at."""

    async def page(position: str) -> _Page:
        found = await client.xrevrange(key, position, "-", count=PAGE)
        opened = await reveal(client, [raw_entry(key, partition, *item) for item in found])
        return len(found), found[-1][0] if found else b"", [entry for entry in opened if holds(entry)]

    return await _newest(page, scan, leads)


async def _newest(page: Callable[[str], Awaitable[_Page]], scan: int, leads: int | None) -> tuple[list[RawEntry], bool]:
    """Asks page by page, from the newest on, as `newest_with` says."""
    out: list[RawEntry] = []
    looked, position = 0, "+"
    while looked < scan:
        count, last, found = await page(position)
        out += found
        looked += count
        if count < PAGE:
            return out, True
        if leads is not None and len({entry.fields.get("subject") for entry in out}) >= leads:
            return out, False
        position = f"({last.decode()}"
    return out, False


async def _read(
    client: Client, key: str, partition: int, ids: list[bytes], holds: Callable[[RawEntry], bool]
) -> list[RawEntry]:
    async with client.pipeline(transaction=False) as pipe:
        for entry_id in ids:
            pipe.xrange(key, entry_id, entry_id)
        found = await pipe.execute()
    entries = [raw_entry(key, partition, *each[0]) for each in found if each]
    return [entry for entry in entries if holds(entry)]

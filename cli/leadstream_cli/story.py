"""A lead's whole story, found by whatever a person has in hand: lead id, mail id, Message-ID or address.

Ids of leads cost a few reads. An address or a mail id is nobody's key: the newest `SCAN` entries are looked through,
and the answer says when there were more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.queries import order
from leadstream_cli.raw_entry import RawEntry, raw_entry
from leadstream_events import keys
from leadstream_events.errors import NotFound
from leadstream_events.log import StreamLog
from leadstream_events.subscribers import SubscriberStore
from leadstream_events.views import LeadView, lead_view
from leadstream_events.writer import PipelinedWriter

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

SCAN = 30_000
_PAGE = 1_000
_MAX_LEADS = 20
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Story:
    """A lead with its mails and attempts, and what was given up of it."""

    view: LeadView
    dead: tuple[RawEntry, ...]

    def row(self) -> dict[str, Any]:
        """All of it as JSON values."""
        view = self.view
        row = asdict(view)
        row["lead"] = view.lead.model_dump(mode="json", exclude_none=True) if view.lead else None
        row["dead_letters"] = [entry.row() for entry in self.dead]
        return row


@dataclass(frozen=True, slots=True)
class Found:
    """The leads that a search found, newest first; `complete` is False when older entries were not looked at."""

    lead_ids: tuple[str, ...]
    complete: bool


async def lead_story(lead_id: str) -> Story:
    """The story of one lead; `NotFound` when there is none."""
    async with redis_client() as client:
        return await lead_story_in(open_log(client, await stored_partitions(client)), lead_id)


async def lead_story_in(log: StreamLog, lead_id: str) -> Story:
    """The same, over a connection that is there."""
    story = await _story(log.client, log.partitions, lead_id)
    if story is None:
        raise NotFound(f"no lead {lead_id[:64]!r}")
    return story


async def stories(wanted: str) -> tuple[list[Story], bool]:
    """The stories that a lead id, mail id, Message-ID or address leads to, and whether the search was complete."""
    async with redis_client() as client:
        partitions = await stored_partitions(client)
        direct = await _story(client, partitions, wanted.lower()) if _UUID.fullmatch(wanted.lower()) else None
        if direct is not None:
            return [direct], True
        found = await _search(client, partitions, wanted)
        told = [await _story(client, partitions, lead_id) for lead_id in found.lead_ids[:_MAX_LEADS]]
    return [story for story in told if story is not None], found.complete and len(found.lead_ids) <= _MAX_LEADS


def open_log(client: Client, partitions: int) -> StreamLog:
    """The log, to read from: nothing is appended through it."""
    return StreamLog(client, PipelinedWriter(client), partitions=partitions, deadline_s=1.0)


async def _story(client: Client, partitions: int, lead_id: str) -> Story | None:
    log = open_log(client, partitions)
    view = await lead_view(log, lead_id, await SubscriberStore(client).all())
    if view is None:
        return None
    key = keys.stream(log.partition(lead_id), keys.DEAD)
    dead = await _newest(
        client, key, log.partition(lead_id), lead_id.encode(), lambda e: e.fields.get("subject") == lead_id, _PAGE
    )
    return Story(view, tuple(reversed(dead[0])))


async def _search(client: Client, partitions: int, wanted: str) -> Found:
    """A mail id or Message-ID is in the requests; an address in the leads and in the requests."""
    mail_id = wanted.strip("<>").partition("@")[0].lower()
    by_mail = _UUID.fullmatch(mail_id) is not None
    if not by_mail and "@" not in wanted:
        raise NotFound(
            f"{wanted[:64]!r} is no lead that is stored; give a lead id, a mail id, a Message-ID or an address"
        )
    needle, field = (mail_id, "email_id") if by_mail else (wanted, "to")
    hits: dict[str, str] = {}
    complete = True
    for number in range(partitions):
        for name in (keys.EMAILS,) if by_mail else (keys.LEADS, keys.EMAILS):
            key = keys.stream(number, name)
            entries, whole = await _newest(client, key, number, needle.encode(), _about(needle, field), SCAN)
            complete &= whole
            for entry in entries:
                lead_id = entry.fields.get("subject", "")
                hits[lead_id] = max(hits.get(lead_id, "0-0"), entry.entry_id, key=order)
        if by_mail and hits:
            break
    newest = sorted(hits, key=lambda lead_id: order(hits[lead_id]), reverse=True)
    return Found(tuple(newest), complete or (by_mail and bool(hits)))


def _about(needle: str, field: str) -> Callable[[RawEntry], bool]:
    def holds(entry: RawEntry) -> bool:
        data = entry.data if isinstance(entry.data, dict) else {}
        lead = data.get("lead")
        own = lead.get("email") if field == "to" and isinstance(lead, dict) else data.get(field)
        return str(own).casefold() == needle.casefold()

    return holds


async def _newest(
    client: Client, key: str, partition: int, needle: bytes, holds: Callable[[RawEntry], bool], scan: int
) -> tuple[list[RawEntry], bool]:
    """Entries of the newest `scan` that hold the bytes and the condition, newest first; and whether that was all."""
    out: list[RawEntry] = []
    looked, position = 0, "+"
    small = needle.lower()
    while looked < scan:
        page = await client.xrevrange(key, position, "-", count=_PAGE)
        for entry_id, fields in page:
            hay = fields.get(b"data", b"") + b" " + fields.get(b"subject", b"")
            if small in hay.lower():
                entry = raw_entry(key, partition, entry_id, fields)
                out += [entry] if holds(entry) else []
        looked += len(page)
        if len(page) < _PAGE:
            return out, True
        position = f"({page[-1][0].decode()}"
    return out, False

"""A lead's whole story, found by whatever a person has in hand: lead id, mail id, Message-ID, address or subscriber.

Ids of leads cost a few reads. Anything else is nobody's key: see `searching`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from leadstream_cli.archiving import older
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.dead_choice import subscriber_id
from leadstream_cli.raw_entry import RawEntry
from leadstream_cli.revealing import reveal, vault_of
from leadstream_cli.searching import PAGE, Wanted, leads_about, newest_with
from leadstream_events import keys
from leadstream_events.errors import NotFound
from leadstream_events.log import StreamLog
from leadstream_events.subscribers import SubscriberStore
from leadstream_events.views import lead_view
from leadstream_events.views_leads import LeadView
from leadstream_events.writer import PipelinedWriter

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

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


async def stories(wanted: str, subscriber: str | None = None) -> tuple[list[Story], bool]:
    """The newest stories that a lead id, mail id, Message-ID or address leads to, or of a subscriber's mails; and
    whether these are all there are."""
    async with redis_client() as client:
        partitions = await stored_partitions(client)
        if subscriber is not None:
            known = await subscriber_id(client, subscriber)
            found = await leads_about(client, partitions, Wanted(known, ("subscriber_id",)), _MAX_LEADS, older(client))
        else:
            direct = await _story(client, partitions, wanted.lower()) if _UUID.fullmatch(wanted.lower()) else None
            if direct is not None:
                return [direct], True
            found = await leads_about(client, partitions, _meant(wanted), _MAX_LEADS, older(client))
        told = [await _story(client, partitions, lead_id) for lead_id in found.lead_ids]
    return [story for story in told if story is not None], found.complete


def _meant(wanted: str) -> Wanted:
    """A mail id or Message-ID is in one lead's requests; an address in leads and requests."""
    mail_id = wanted.strip("<>").partition("@")[0].lower()
    if _UUID.fullmatch(mail_id):
        return Wanted(mail_id, ("email_id",), single=True)
    if "@" not in wanted:
        raise NotFound(
            f"{wanted[:64]!r} is no lead that is stored; give one, a mail id, a Message-ID, an address or --subscriber"
        )
    return Wanted(wanted, ("to",), in_leads=True)


def open_log(client: Client, partitions: int) -> StreamLog:
    """The log, to read from: nothing is appended through it."""
    return StreamLog(
        client,
        PipelinedWriter(client),
        partitions=partitions,
        deadline_s=1.0,
        vault=vault_of(client),
        older=older(client),
    )


async def _story(client: Client, partitions: int, lead_id: str) -> Story | None:
    log = open_log(client, partitions)
    view = await lead_view(log, lead_id, await SubscriberStore(client).all())
    if view is None:
        return None
    number = log.partition(lead_id)
    dead, _ = await newest_with(
        client, keys.stream(number, keys.DEAD), number, lead_id, lambda e: e.fields.get("subject") == lead_id, 20 * PAGE
    )
    return Story(view, tuple(reversed(await reveal(client, dead))))

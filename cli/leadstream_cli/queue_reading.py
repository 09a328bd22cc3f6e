"""Reads what `queue_checks` judges: bounded work, whatever the streams hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from leadstream_cli.parts import GROUPS
from leadstream_cli.queries import Group, ms_of, read_consumers, read_streams
from leadstream_cli.queue_checks import BEHIND_S, Behind, MailQueue, rate_within
from leadstream_events import keys
from leadstream_events.server_time import server_ms

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client
    from leadstream_events.settings import Settings

_NEWEST = 1_000
_DEAD_AFTER_S = 120.0
_ENDS = (b"EmailSent", b"EmailFailed", b"EmailSkipped")


async def read_queues(
    client: Client, settings: Settings, partitions: int, *, told: bool
) -> tuple[MailQueue, list[Behind], list[str]]:
    """The mails that wait, every other group that is behind, and services nobody of which is alive.

    Without `told` (see `queue_checks.services`) the latter are those whose group is not there. Redis errors pass.
    """
    found = [group for stream in await read_streams(client, partitions) for group in stream.groups]
    named = {group.group for group in found}
    absent = [
        service
        for service, ((group, _), *_) in GROUPS.items()
        if group not in named or (told and not await _alive(client, partitions, group))
    ]
    return await _mails(client, settings, partitions, found), await _behind(client, partitions, found), absent


async def _mails(client: Client, settings: Settings, partitions: int, found: list[Group]) -> MailQueue:
    from leadstream_events.views_limits import limit_lines

    mine = [group for group in found if group.group == keys.MAILER]
    lines = [line for line in await limit_lines(client, settings, datetime.now(UTC)) if line.name == "every domain"]
    full = next((line for line in lines if line.next_at is not None), None)
    # A warm-up is a number for a whole day: it says nothing about a rate before it is used up.
    line = full or next((line for line in lines if line.what == "rate"), None)
    return MailQueue(
        sum(group.lag + group.pending - group.parked for group in mine),
        await _rate(client, partitions, keys.EMAILS, (b"EmailRequested",)),
        await _rate(client, partitions, keys.OUTCOMES, _ENDS),
        await _alive(client, partitions, keys.MAILER),
        f"{line.what} {line.limit}" if line else "",
        line.per_s if line else None,
        full is not None,
    )


async def _rate(client: Client, partitions: int, stream: str, types: tuple[bytes, ...]) -> float:
    now_ms, total = await server_ms(client), 0.0
    for number in range(partitions):
        newest = await client.xrevrange(keys.stream(number, stream), count=_NEWEST)
        stored = [(ms_of(entry_id.decode()), fields.get(b"type")) for entry_id, fields in newest]
        share = sum(kind in types for _, kind in stored) / len(stored) if stored else 0.0
        total += share * rate_within([ms for ms, _ in stored], now_ms, _NEWEST)
    return total


async def _behind(client: Client, partitions: int, found: list[Group]) -> list[Behind]:
    services = {group: service for service, groups in GROUPS.items() for group, _ in groups if service != keys.MAILER}
    late = [group for group in found if group.group in services and (group.lag_age_s or 0) > BEHIND_S]
    return [
        Behind(
            services[group.group],
            f"{group.group} on {group.stream}",
            group.lag,
            group.lag_age_s or 0.0,
            await _alive(client, partitions, group.group),
        )
        for group in late
    ]


async def _alive(client: Client, partitions: int, group: str) -> int:
    """Processes, and not one for each partition or stream."""
    found = await read_consumers(client, partitions, group, _DEAD_AFTER_S)
    return len({item.consumer for item in found if item.state == "alive"})

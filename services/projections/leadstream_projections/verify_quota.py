"""Compares the purchased leads that count as sent with the outcomes in the log."""

from __future__ import annotations

from leadstream_archive.history import History
from leadstream_events import keys
from leadstream_events.errors import Conflict
from leadstream_events.redis_client import Client
from leadstream_events.subscribers import SubscriberStore
from leadstream_projections.rebuild_state import missing_entries
from leadstream_projections.verify import Drift, Verified, entries
from leadstream_projections.verify_count import SentLeads

_TRIES = 20


async def verify_quota(client: Client, partitions: int, history: History | None = None) -> Verified | None:
    """Compares `sent` of every subscriber; None when the group `quota` is busy: the two are in different slots.

    Raises `Conflict` when outcomes were trimmed and are in no archive.
    """
    past = history or History(client, None)
    for partition in range(partitions):
        if await missing_entries(past, partition, (keys.OUTCOMES,)):
            raise Conflict(f"outcomes of partition {partition} were trimmed and are in no archive")
    subscribers = [subscriber.id for subscriber in await SubscriberStore(client).all()]
    for _ in range(_TRIES):
        before = await _standing(client, partitions)
        usage = await SubscriberStore(client).usage(subscribers) if subscribers else {}
        if before is not None and before == await _standing(client, partitions):
            break
    else:
        return None
    out = Verified(counters=len(subscribers))
    expected = await _sent(past, before)
    for who in subscribers:
        counted, due = usage[who].sent, expected.get(who, 0)
        if counted != due:
            out.drifts.append(Drift("quota", 0, "", f"{who}:sent", str(counted), str(due)))
    return out


async def _standing(client: Client, partitions: int) -> list[str] | None:
    """Where the group stands in each partition; None while something is pending for it."""
    out = []
    for partition in range(partitions):
        key = keys.stream(partition, keys.OUTCOMES)
        groups = await client.xinfo_groups(key) if await client.exists(key) else []
        mine = [group for group in groups if group["name"] == keys.QUOTA.encode()]
        if mine and mine[0]["pending"]:
            return None
        out.append(mine[0]["last-delivered-id"].decode() if mine else "0-0")
    return out


async def _sent(history: History, standing: list[str]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for partition, last in enumerate(standing):
        tally = SentLeads()
        async for entry in entries(history, partition, (keys.OUTCOMES,), {keys.OUTCOMES: last}):
            tally.take(entry)
        for who, count in tally.sent.items():
            sums[who] = sums.get(who, 0) + count
    return sums

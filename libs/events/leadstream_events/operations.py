"""What an operator may do to groups and streams: seek, claim, trim. Each is recorded in the step that does it.

The events are in `leadstream:{N}:operations`, in the slot of what they tell of; what is about more than one
partition is in `leadstream:{meta}:operations`. Redis errors pass through as they are:
the step may have been carried out then, and looking again tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.envelope import flat, make_event
from leadstream_events.errors import Conflict, NotFound
from leadstream_events.redis_client import Client
from leadstream_events.redrive_rules import Actor
from leadstream_events.schemas.events import (
    CommandFinished,
    EntriesClaimed,
    EventData,
    GroupMoved,
    GroupRemoved,
    StreamTrimmed,
)

TRIM_STEP = 10_000
CLAIM_STEP = 500


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why nothing may be trimmed there: a `group` has `missing` (never started), `unread` or `pending` entries."""

    what: str
    group: str


def _fields(data: EventData, subject: str, now: datetime) -> list[str]:
    return flat(make_event(data, subject=subject, now=now))


async def seek(
    client: Client,
    partition: int,
    stream: str,
    group: str,
    *,
    before: str,
    after: str,
    dead_after_s: float | None,
    actor: Actor,
    now: datetime,
) -> str:
    """Sets `group` from `before` to `after` and returns the position read back.

    `dead_after_s`: with a consumer that was heard of since then it is refused; None forces it. Raises `Conflict` when
    refused, or when the group stands elsewhere than at `before` by now, and `NotFound`.
    """
    told = GroupMoved(
        stream=stream, group=group, before=before, after=after, forced=dead_after_s is None, by=actor.by,
        reason=actor.reason,
    )  # fmt: skip
    dead_ms = -1 if dead_after_s is None else int(dead_after_s * 1000)
    names = [keys.stream(partition, stream), keys.checkpoints(partition), keys.stream(partition, keys.OPERATIONS)]
    args: list[Argument] = [group, before, after, dead_ms, keys.PARKED, *_fields(told, group, now)]
    what, detail = await scripts.run(client, scripts.SEEK, names, args)
    if what == b"none":
        raise NotFound(f"no group {group} on {stream} in partition {partition}")
    if what == b"alive":
        raise Conflict(f"{detail.decode()} is alive and would go on from where it is: stop it first, or use --force")
    if what == b"moved":
        raise Conflict(f"{group} went on to {detail.decode()} meanwhile: look again")
    return str(detail.decode())


async def claim(
    client: Client,
    partition: int,
    stream: str,
    group: str,
    entries: Sequence[str],
    *,
    owners: Sequence[str],
    idle_ms: int,
    actor: Actor,
    now: datetime,
) -> list[str]:
    """Makes entries that are still idle for that long due now; returns those it took. At most `CLAIM_STEP` at once."""
    told = EntriesClaimed(
        stream=stream, group=group, count=0, owners=tuple(owners), entries=("@",), by=actor.by, reason=actor.reason
    )
    names = [keys.stream(partition, stream), keys.due(partition, group), keys.stream(partition, keys.OPERATIONS)]
    args: list[Argument] = [group, keys.PARKED, idle_ms, stream, len(entries), *entries, *_fields(told, group, now)]
    taken = await scripts.run(client, scripts.CLAIM, names, args)
    return [entry.decode() for entry in taken]


async def remove_group(
    client: Client, partition: int, stream: str, group: str, *, dead_after_s: float | None, actor: Actor, now: datetime
) -> bool:
    """Removes a group from a stream; False when it is not there. With a living consumer it is refused (`Conflict`).

    `dead_after_s` as in `seek`.
    """
    told = GroupRemoved(stream=stream, group=group, by=actor.by, reason=actor.reason)
    dead_ms = -1 if dead_after_s is None else int(dead_after_s * 1000)
    names = [keys.stream(partition, stream), keys.checkpoints(partition), keys.stream(partition, keys.OPERATIONS)]
    args: list[Argument] = [group, dead_ms, *_fields(told, group, now)]
    what, detail = await scripts.run(client, scripts.GROUP_REMOVE, names, args)
    if what == b"alive":
        raise Conflict(f"{detail.decode()} is alive and reads for {group}: stop it first")
    return bool(what == b"ok")


async def trim(
    client: Client, partition: int, stream: str, *, before: str, count: int, groups: Sequence[str], actor: Actor,
    now: datetime,
) -> int | Blocked:  # fmt: skip
    """Deletes the entries below `before` (expected: `count`) step by step; returns how many went.

    `groups` must be there: one that never started would lose what it has not seen. What is blocked is not touched.
    """
    told = StreamTrimmed(stream=stream, before=before, count=count, by=actor.by, reason=actor.reason)
    names = [keys.stream(partition, stream), keys.stream(partition, keys.OPERATIONS)]
    args: list[Argument] = [before, TRIM_STEP, len(groups), *groups]
    event = _fields(told, stream, now)
    total = 0
    while True:
        deleted, what, group = await scripts.run(client, scripts.TRIM, names, [*args, *event])
        if what != b"ok":
            return Blocked(what.decode(), group.decode())
        total += int(deleted)
        if not deleted:
            return total
        event = []


async def record(
    client: Client, action: str, chosen: str, done: int, refused: int, actor: Actor, now: datetime
) -> None:
    """Records the end of a command over many things."""
    told = CommandFinished(
        stream="", action=action, chosen=chosen, done=done, refused=refused, by=actor.by, reason=actor.reason
    )
    await client.execute_command("XADD", keys.META_OPERATIONS, "*", *_fields(told, action, now))

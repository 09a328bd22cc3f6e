"""What follows from an entry, as values: the only language in which a handler speaks to Redis.

A handler returns `Settlement`s; `lua/commit.lua` carries them out. So deciding code stays pure, and an entry is never
acknowledged apart from its outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from leadstream_events.envelope import Event, flat
from leadstream_events.keys import PARKED, name_of

Argument = str | bytes | int


class Verb(StrEnum):
    """`ACK` finishes an entry for its group; `PARK` keeps it pending until it is due."""

    ACK = "ack"
    PARK = "park"


@dataclass(frozen=True, slots=True)
class Effect:
    """One write command on one key."""

    command: str
    key: str
    args: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Fence:
    """The commit holds only while this hash field starts with this prefix (see `ledger.py`)."""

    key: str
    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of one delivery: what becomes of the entry and what follows from it, all or nothing.

    `more` names further entries of the same stream that the same effects finish, as sums over all of them: they are
    applied if every one of these entries is still pending, and otherwise nothing is changed.
    """

    stream: str
    entry_id: str
    effects: tuple[Effect, ...] = ()
    verb: Verb = Verb.ACK
    fence: Fence | None = None
    more: tuple[str, ...] = ()

    @property
    def entry_ids(self) -> tuple[str, ...]:
        """Every entry that this finishes."""
        return (self.entry_id, *self.more)


def append(stream: str, event: Event) -> Effect:
    """XADD of an event."""
    return Effect("XADD", stream, ("*", *flat(event)))


def appended_type(effect: Effect) -> str | None:
    """The type of the event that an effect appends; None for any other effect."""
    return str(effect.args[effect.args.index("type") + 1]) if effect.command == "XADD" else None


def set_field(key: str, field: str, value: str) -> Effect:
    """HSET of one field."""
    return Effect("HSET", key, (field, value))


def count(key: str, field: str, by: int = 1) -> Effect:
    """HINCRBY."""
    return Effect("HINCRBY", key, (field, by))


def set_greatest(key: str, field: str, value: str) -> Effect:
    """Sets a hash field unless it holds a greater text; for values that must not depend on the order of events."""
    return Effect("MAX", key, (field, value))


def add_member(key: str, member: str) -> Effect:
    """SADD of one member."""
    return Effect("SADD", key, (member,))


def expire(key: str, seconds: int) -> Effect:
    """EXPIRE."""
    return Effect("EXPIRE", key, (seconds,))


def once(key: str, field: str, value: str, effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """The effects, guarded: they happen only if the hash field was absent, and set it."""
    return (Effect("ONCE", key, (field, value, len(effects))), *effects)


def due(key: str, stream: str, entry_id: str, delay_s: float) -> Effect:
    """Makes a parked entry due after a delay on the server's clock."""
    return Effect("DUE", key, (due_member(stream, entry_id), int(delay_s * 1000)))


def due_member(stream: str, entry_id: str) -> str:
    """The member of the `due` set that stands for an entry."""
    return f"{name_of(stream)} {entry_id}"


def commit_call(
    group: str, consumer: str, checkpoints: str, settlements: Iterable[Settlement]
) -> tuple[list[str], list[Argument]]:
    """Returns KEYS and ARGV of `lua/commit.lua`."""
    numbers: dict[str, int] = {checkpoints: 1}
    entries: list[Argument] = []
    total = 0
    for settlement in settlements:
        total += 1
        fence = settlement.fence
        entries += (
            numbers.setdefault(settlement.stream, len(numbers) + 1),
            " ".join(settlement.entry_ids) if settlement.more else settlement.entry_id,
            settlement.verb.value,
            numbers.setdefault(fence.key, len(numbers) + 1) if fence else 0,
            fence.field if fence else "",
            fence.prefix if fence else "",
            len(settlement.effects),
        )
        for effect in settlement.effects:
            key = numbers.setdefault(effect.key, len(numbers) + 1)
            entries += (effect.command, key, len(effect.args), *effect.args)
    return list(numbers), [group, consumer, PARKED, total, *entries]


def together(stream: str, entry_ids: Sequence[str], effects: Sequence[Effect] = ()) -> Settlement:
    """Finishes several entries of one stream with effects that are sums over all of them."""
    return Settlement(stream, entry_ids[0], tuple(effects), more=tuple(entry_ids[1:]))

"""What Redis knows about the generations of a projection: which one is live, filled, or still to be deleted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from leadstream_archive.history import History
from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.redis_client import Client
from leadstream_projections.counters import Projection

# What the first generation was counted with: its version was not written down then.
FIRST_VERSION = 1
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Filling:
    """A generation that is being filled: `positions` says up to which entry of each stream it has counted."""

    generation: int
    version: int
    left_out: frozenset[str] = frozenset()
    positions: Mapping[str, str] = field(default_factory=dict)
    done: int = 0
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class Generations:
    """A projection's generations in one partition. `retired` ones are to be deleted.

    `doubtful`: its group was destroyed while entries were in work, so that some may have counted twice.
    """

    live: int
    version: int
    retired: tuple[int, ...]
    filling: Filling | None
    doubtful: bool = False

    def needs_rebuild(self, projection: Projection) -> bool:
        """True when the live generation was counted by another definition than the code's, or is doubtful."""
        return self.doubtful or self.version != projection.version


def parse_filling(fields: Mapping[bytes, bytes]) -> Filling | None:
    """Reads a rebuild state; None when there is none."""
    values = {name.decode(): value.decode() for name, value in fields.items()}
    if "generation" not in values:
        return None
    return Filling(
        int(values["generation"]),
        int(values["version"]),
        frozenset(values["letters"].split("\n")) - {""},
        {name: values[name] for name in keys.STREAMS if name in values},
        int(values["done"]),
        "adding" in values,
    )


async def read_generations(client: Client, projection: Projection, partition: int) -> Generations:
    """Returns what is stored; Redis errors as they are."""
    async with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.projection_pointer(partition))
        pipe.hgetall(keys.rebuild(partition, projection.name))
        pointers, filling = await pipe.execute()
    own = {name.decode(): value.decode() for name, value in pointers.items()}
    mark = f"{projection.name} retired "
    return Generations(
        int(own.get(projection.name, 1)),
        int(own.get(f"{projection.name} version", FIRST_VERSION)),
        tuple(sorted(int(name.removeprefix(mark)) for name in own if name.startswith(mark))),
        parse_filling(filling),
        f"{projection.name} doubtful" in own,
    )


async def note_lost_group(client: Client, projection: Projection, partition: int) -> bool:
    """Marks the counters as doubtful when the group, created again just now, begins below what it had counted.

    A checkpoint that says `<id` was stored while that entry was in work: of those behind it, some had been counted. The
    group's next commit writes another one, so this must be asked before the group reads.
    """
    names = [f"{projection.group} {keys.stream(partition, name)}" for name in projection.streams]
    marks = await client.hmget(keys.checkpoints(partition), names)
    if not any(mark and mark.startswith(b"<") for mark in marks):
        return False
    await client.hset(keys.projection_pointer(partition), f"{projection.name} doubtful", 1)
    return True


async def note_version(client: Client, projection: Projection, partition: int) -> int:
    """Writes down by which definition a projection counts that never counted before; returns the one in force."""
    pointers, field_name = keys.projection_pointer(partition), f"{projection.name} version"
    groups = [await _has_group(client, keys.stream(partition, name), projection.group) for name in projection.streams]
    if not any(groups):
        await client.hsetnx(pointers, field_name, projection.version)
    return int(await client.hget(pointers, field_name) or FIRST_VERSION)


async def _has_group(client: Client, stream: str, group: str) -> bool:
    if not await client.exists(stream):
        return False
    return group.encode() in {item["name"] for item in await client.xinfo_groups(stream)}


async def open_filling(
    client: Client, projection: Projection, partition: int, left_out: Iterable[str], *, give_up: int | None = None
) -> Filling:
    """Returns the generation that is being filled, or begins one; `give_up` is first put aside for deletion."""
    found = await _begin(client, projection, partition, left_out, give_up, begin=True)
    assert found is not None  # noqa: S101  -- the script has made one
    return found


async def discard_filling(client: Client, projection: Projection, partition: int, generation: int) -> None:
    """Puts a generation that is being filled aside for deletion."""
    await _begin(client, projection, partition, (), generation, begin=False)


async def _begin(
    client: Client, projection: Projection, partition: int, left_out: Iterable[str], give_up: int | None, *, begin: bool
) -> Filling | None:
    names = [keys.projection_pointer(partition), keys.rebuild(partition, projection.name)]
    letters = "\n".join(sorted(left_out))
    args: list[Argument] = [
        projection.name,
        projection.version,
        letters,
        "" if give_up is None else give_up,
        int(begin),
    ]
    reply: Sequence[bytes] = await scripts.run(client, scripts.REBUILD_BEGIN, names, args)
    return parse_filling(dict(zip(reply[::2], reply[1::2], strict=True)))


@dataclass(frozen=True, slots=True)
class Letters:
    """The open dead letters of a partition when they were looked at: the newest one ever, how many there are, and the
    entries (`stream id`) that a group gave up. Those are not counted; redriving one delivers it to the group."""

    newest: str
    count: int
    given_up: frozenset[str]


async def read_letters(client: Client, partition: int, group: str) -> Letters:
    """Reads every open dead letter of a partition."""
    key = keys.stream(partition, keys.DEAD)
    if not await client.exists(key):
        return Letters("0-0", 0, frozenset())
    info = await client.xinfo_stream(key)
    given_up: set[str] = set()
    position = "-"
    while True:
        page = await client.xrange(key, position, "+", count=_PAGE)
        given_up.update(place for _, fields in page if (place := _given_up(fields, group)))
        if len(page) < _PAGE:
            return Letters(info["last-generated-id"].decode(), int(info["length"]), frozenset(given_up))
        position = f"({page[-1][0].decode()}"


def _given_up(fields: Mapping[bytes, bytes], group: str) -> str | None:
    raw = fields.get(b"data", b"")
    if group.encode() not in raw:
        return None
    try:
        data: Any = json.loads(raw)
        return f"{keys.name_of(data['stream'])} {data['entry_id']}" if data["group"] == group else None
    except (ValueError, TypeError, LookupError):
        return None


async def missing_entries(history: History, partition: int, streams: Iterable[str]) -> int:
    """How many entries that were ever added to these streams are neither there nor in the archive."""
    return sum([await history.missing(partition, name) for name in streams])


async def ever_added(history: History, partition: int, stream: str) -> int:
    """How many entries there are to read, about: with an archive, all that were ever added (XINFO STREAM)."""
    key = keys.stream(partition, stream)
    if not await history.client.exists(key):
        return 0
    info = await history.client.xinfo_stream(key)
    return int(info["entries-added"] if history.archive else info["length"])

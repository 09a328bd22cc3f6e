"""One generation that is being filled: what it still wants of a page, how it takes it in, and how it becomes live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.errors import Conflict, Permanent
from leadstream_events.redis_client import Client
from leadstream_projections.counters import Countable, Place, Projection
from leadstream_projections.forgotten import forgotten
from leadstream_projections.rebuild_state import Filling, Letters, open_filling, read_generations, read_letters
from leadstream_projections.sums import PartSums, add_up, merge

# Fields of one key that one HMGET asks for: Lua hands over a few thousand values at the most.
_FIELDS = 1_000

# So much is gathered before it is stored: what a killed rebuild counts again, and how long one script may take.
_ENTRIES, _COUNTERS = 10_000, 3_000

Placed = tuple[Countable, Place]


@dataclass(frozen=True, slots=True)
class LastPage:
    """What the end of a stream comes to, and its last id."""

    last: str
    entries: int
    sums: Mapping[str, PartSums]


@dataclass(slots=True)
class _Gathered:
    """What some pages of one stream come to, not stored yet. `size`: counters that they touch, at the most."""

    stream: str = ""
    last: str = ""
    entries: int = 0
    size: int = 0
    sums: dict[str, PartSums] = field(default_factory=dict)


class Builder:
    """One projection in one partition: its generation that is being filled."""

    def __init__(
        self, client: Client, projection: Projection, partition: int, filling: Filling, *, archived: bool = False
    ) -> None:
        self._client, self.projection, self.partition, self._archived = client, projection, partition, archived
        self.generation, self._left_out = filling.generation, filling.left_out
        self._stored = {name: filling.positions.get(name, "") for name in projection.streams}
        self.planned = {name: position or "0-0" for name, position in self._stored.items()}
        self.done = filling.done
        self._gathered = _Gathered()

    @classmethod
    async def open(cls, client: Client, projection: Projection, partition: int, *, archived: bool = False) -> Builder:
        """Goes on with the generation that is being filled, unless its definition or its letters are others by now.

        `archived`: what it counts may tell of leads that trimming has forgotten; those are left out.
        """
        letters = await read_letters(client, partition, projection.group)
        filling = (await read_generations(client, projection, partition)).filling
        give_up = None
        if filling and (
            filling.version != projection.version or filling.cut_off or filling.left_out != letters.given_up
        ):
            give_up = filling.generation
        opened = await open_filling(client, projection, partition, letters.given_up, give_up=give_up)
        return cls(client, projection, partition, opened, archived=archived)

    async def begin_again(self, letters: Letters) -> Builder:
        """Gives the generation up for a new one: entries were given up, or redriven, after it was begun."""
        filling = await open_filling(
            self._client, self.projection, self.partition, letters.given_up, give_up=self.generation
        )
        return Builder(self._client, self.projection, self.partition, filling, archived=self._archived)

    def base(self, generation: int) -> str:
        """The key of a generation; those of its parts begin with it."""
        return keys.projection(self.partition, self.projection.name, generation)

    def stored(self, stream: str) -> str:
        """Up to which entry of a stream the generation has counted, in Redis."""
        return self._stored[stream] or "0-0"

    def leaves_out(self, place: Place) -> bool:
        """True for an entry that the group gave up."""
        return f"{place.stream} {place.entry_id}" in self._left_out

    def sums_of(self, stream: str, placed: Sequence[Placed], after: str, last: str) -> dict[str, PartSums] | None:
        """What a page from `after` to `last` comes to, as far as it was not counted yet; None when all of it was.

        Raises `Permanent`, naming the entry, when the projection cannot count it.
        """
        mine = self.planned[stream]
        if order(last) <= order(mine):
            return None
        if mine != after:
            placed = [item for item in placed if order(item[1].entry_id) > order(mine)]
        if self._left_out:
            placed = [item for item in placed if not self.leaves_out(item[1])]
        self.planned[stream] = last
        try:
            return add_up(self.projection, placed)
        except Exception:
            raise self._uncountable(stream, placed) from None

    def _uncountable(self, stream: str, placed: Sequence[Placed]) -> Permanent:
        for item in placed:
            try:
                add_up(self.projection, [item])
            except Exception as error:
                what = f"{self.projection.group} raises {type(error).__name__} at entry {item[1].entry_id} of {stream}"
                return Permanent("uncountable", f"{what}: mend the projection; the live counters stay as they are")
        return Permanent("uncountable", f"{self.projection.group} raises, but not for any entry alone")

    def gather(self, stream: str, sums: dict[str, PartSums], last: str, entries: int) -> None:
        """Keeps what a page comes to until it is stored. One stream at a time: store before the next one."""
        merge(self._gathered.sums, sums)
        self._gathered.stream, self._gathered.last = stream, last
        self._gathered.entries += entries
        self._gathered.size += sum(len(each.counts) + len(each.greatest) for each in sums.values())
        self.planned[stream] = last

    @property
    def full(self) -> bool:
        """True when enough is gathered to be stored; in between, equal counters of later pages cost nothing."""
        return self._gathered.entries >= _ENTRIES or self._gathered.size >= _COUNTERS

    async def store(self) -> None:
        """Stores what is gathered and its last id in one step. Raises `Conflict` when somebody else fills it too."""
        made, self._gathered = self._gathered, _Gathered()
        if not made.stream:
            return
        if self._archived and self.projection.of_leads:
            live = (await read_generations(self._client, self.projection, self.partition)).live
            for lead in await forgotten(self._client, self.partition, self.base(live), made.sums):
                del made.sums[lead]
        names, packed = self._packed(made.sums)
        args: list[Argument] = [
            self.generation, made.stream, self._stored[made.stream], made.last, made.entries, *packed,
        ]  # fmt: skip
        names = [keys.rebuild(self.partition, self.projection.name), *names]
        if await scripts.run(self._client, scripts.REBUILD_ADD, names, args) != 1:
            raise Conflict(f"{self.projection.group} is being rebuilt by another process: let it finish, or try again")
        self._stored[made.stream] = made.last
        self.done += made.entries

    async def swap(self, letters: Letters, last_pages: Mapping[str, LastPage]) -> str:
        """Adds a last page per stream and tries to make this the live generation, all in one step.

        Returns what `rebuild_swap.lua` says, or `given up` when other dead letters are open by now than those that
        are left out. `letters` must have been read after the generation was begun.
        """
        if letters.given_up != self._left_out:
            return "given up"
        number, name = self.partition, self.projection.name
        names = [keys.projection_pointer(number), keys.rebuild(number, name), keys.checkpoints(number)]
        names += (keys.stream(number, each) for each in (keys.DEAD, *self.projection.streams))
        args: list[Argument] = [name, self.projection.group, self.generation, letters.newest, letters.count]
        args.append(len(self.projection.streams))
        counters: list[Argument] = []
        for stream, before in self._stored.items():
            page = last_pages.get(stream)
            args += (stream, before, page.last if page else before)
            more, packed = self._packed(page.sums if page else {})
            names += more
            counters += packed
        what, _ = await scripts.run(self._client, scripts.REBUILD_SWAP, names, [*args, *counters])
        return str(what.decode())

    def _packed(self, sums: Mapping[str, PartSums]) -> tuple[list[str], list[Argument]]:
        """The counters' keys and what `rebuild_fold.lua` takes, in pieces that Lua can take."""
        names: list[str] = []
        args: list[Argument] = []
        for part, each in sums.items():
            key = keys.projection(self.partition, self.projection.name, self.generation, part)
            lifetime_s = self.projection.lifetime_s(part) or 0
            counts, greatest = list(each.counts.items()), list(each.greatest.items())
            for at in range(0, max(len(counts), len(greatest)), _FIELDS):
                adds, tops = counts[at : at + _FIELDS], greatest[at : at + _FIELDS]
                pairs: list[tuple[str, Argument]] = [*adds, *tops]
                names.append(key)
                args += (lifetime_s, len(adds), len(tops))
                args += (name for name, _ in pairs)
                args += (value for _, value in pairs)
        return names, args

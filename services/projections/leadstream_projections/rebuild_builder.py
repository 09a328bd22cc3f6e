"""One generation that is being filled: what it still wants of a page, how it takes it in, and how it becomes live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.envelope import Event
from leadstream_events.errors import Conflict, Permanent
from leadstream_events.redis_client import Client
from leadstream_projections.counters import Place, Projection
from leadstream_projections.rebuild_state import Filling, Letters, open_filling, read_generations, read_letters
from leadstream_projections.sums import PartSums, add_up

# Fields of one key that one HMGET asks for: Lua hands over a few thousand values at the most.
_FIELDS = 1_000

Placed = tuple[Event, Place]


@dataclass(frozen=True, slots=True)
class LastPage:
    """What the end of a stream comes to, and its last id."""

    last: str
    entries: int
    sums: Mapping[str, PartSums]


class Builder:
    """One projection in one partition: its generation that is being filled."""

    def __init__(self, client: Client, projection: Projection, partition: int, filling: Filling) -> None:
        self._client, self.projection, self.partition = client, projection, partition
        self.generation, self._left_out = filling.generation, filling.left_out
        self._stored = {name: filling.positions.get(name, "") for name in projection.streams}
        self.planned = {name: position or "0-0" for name, position in self._stored.items()}
        self.done = filling.done

    @classmethod
    async def open(cls, client: Client, projection: Projection, partition: int) -> Builder:
        """Goes on with the generation that is being filled, unless its definition or its letters are others by now."""
        letters = await read_letters(client, partition, projection.group)
        filling = (await read_generations(client, projection, partition)).filling
        give_up = None
        if filling and (
            filling.version != projection.version or filling.cut_off or filling.left_out != letters.given_up
        ):
            give_up = filling.generation
        opened = await open_filling(client, projection, partition, letters.given_up, give_up=give_up)
        return cls(client, projection, partition, opened)

    async def begin_again(self, letters: Letters) -> Builder:
        """Gives the generation up for a new one: entries were given up, or redriven, after it was begun."""
        filling = await open_filling(
            self._client, self.projection, self.partition, letters.given_up, give_up=self.generation
        )
        return Builder(self._client, self.projection, self.partition, filling)

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
            placed = [item for item in placed if f"{stream} {item[1].entry_id}" not in self._left_out]
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

    async def add(self, stream: str, sums: dict[str, PartSums], last: str, entries: int) -> None:
        """Stores a page's sums and its last id in one step. Raises `Conflict` when somebody else fills it too."""
        names, packed = self._packed(sums)
        args: list[Argument] = [self.generation, stream, self._stored[stream], last, entries, *packed]
        names = [keys.rebuild(self.partition, self.projection.name), *names]
        if await scripts.run(self._client, scripts.REBUILD_ADD, names, args) != 1:
            raise Conflict(f"{self.projection.group} is being rebuilt by another process: let it finish, or try again")
        self._stored[stream] = last
        self.done += entries

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


def order(entry_id: str) -> tuple[int, int]:
    """The order of entry ids."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)

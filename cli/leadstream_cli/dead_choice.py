"""Which dead letters are meant, and what they have in common."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leadstream_events.errors import NotFound

if TYPE_CHECKING:
    from leadstream_events.dead_letters import Letter
    from leadstream_events.redis_client import Client
    from leadstream_events.redrive import Done
    from leadstream_events.redrive_rules import Refusal

CHUNK = 500


def domain_of(letter: Letter) -> str:
    """The domain that the mail was to go to; empty when no mail is meant."""
    return letter.request.to.rpartition("@")[2].lower() if letter.request else ""


def subscriber_of(letter: Letter) -> str:
    """The subscriber that the mail was for; empty when none is meant."""
    return (letter.data.subscriber_id if letter.data else None) or ""


BY: dict[str, Callable[[Letter], str]] = {
    "cause": lambda letter: letter.cause,
    "group": lambda letter: letter.group,
    "lead": lambda letter: letter.lead_id,
    "subscriber": subscriber_of,
    "domain": domain_of,
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A filter over open letters: every condition that is given must hold. `ids` are `[partition/]dead/ID` or IDs."""

    ids: frozenset[str] = frozenset()
    cause: str | None = None
    group: str | None = None
    lead: str | None = None
    subscriber: str | None = None
    domain: str | None = None
    everything: bool = False

    @property
    def given(self) -> bool:
        """True when it says which letters are meant."""
        return self.everything or bool(self.ids or self._conditions())

    def _conditions(self) -> dict[str, str]:
        return {name: value for name in BY if (value := getattr(self, name)) is not None}

    def keeps(self, letter: Letter) -> bool:
        """True when this letter is meant."""
        places = {letter.entry_id, f"dead/{letter.entry_id}", f"{letter.partition}/dead/{letter.entry_id}"}
        if self.ids and not self.ids & places:
            return False
        return all(BY[name](letter) == value for name, value in self._conditions().items())

    def __str__(self) -> str:
        """As the record of the command tells it; holds no address and no name."""
        parts = [f"{name}={value}" for name, value in self._conditions().items()]
        return " ".join([*parts, *sorted(self.ids)[:20]]) or "all"


async def subscriber_id(client: Client, wanted: str) -> str:
    """The subscriber with this id, address or name (in any case); `NotFound`, also when a name is not enough."""
    from leadstream_events.subscribers import SubscriberStore

    store = SubscriberStore(client)
    if "@" in wanted:
        found = await store.by_address(wanted)
        if found:
            return found.id
    everyone = await store.all()
    named = [item.id for item in everyone if wanted.casefold() in (item.id, item.name.casefold())]
    if len(named) == 1:
        return named[0]
    if len(named) > 1:
        raise NotFound(f"{len(named)} subscribers have this name: give the id of one")
    raise NotFound("no subscriber has this id, address or name")


@dataclass
class Report:
    """What came of an action over many letters."""

    done: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)
    by_others: int = 0

    def add(self, answer: Done) -> None:
        """Counts one answer. What somebody else did first, or is doing, is nobody's failure."""
        from leadstream_events.redrive_rules import Refusal

        if answer.refusal is None:
            self.done += 1
        elif answer.refusal in (Refusal.ALREADY, Refusal.BUSY):
            self.by_others += 1
        else:
            self.refused[answer.refusal] += 1


async def act(
    letters: Iterable[Letter],
    action: Callable[[Letter], Awaitable[Done]],
    *,
    pause_s: float = 0.0,
    progress: Callable[[int], None] = lambda done: None,
) -> Report:
    """Does it to one letter after the other, no faster than one in `pause_s`; tells after each chunk."""
    report = Report()
    for number, letter in enumerate(letters, 1):
        report.add(await action(letter))
        if number % CHUNK == 0:
            progress(number)
        if pause_s:
            await asyncio.sleep(pause_s)
    return report

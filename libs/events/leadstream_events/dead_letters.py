"""Open dead letters, read for people: one by one, in pages, and counted by what they have in common.

The stream of dead letters holds the open ones and no others (`redrive.py` deletes what it closes), so its length is
their number. Counting reads a bounded number of the newest letters and says when there are more.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from leadstream_events import keys
from leadstream_events.entry_ids import entry_order
from leadstream_events.envelope import decode
from leadstream_events.errors import Malformed
from leadstream_events.ledger import Row, parse_row
from leadstream_events.log import Entry, RawFields, StreamLog, read_entry
from leadstream_events.schemas.events import EmailRequested, EntryDeadLettered

COUNT_UP_TO = 5_000
_PAGE = 500


@dataclass(frozen=True)
class Letter:
    """An open dead letter. `data` is None when the letter itself cannot be read."""

    partition: int
    entry_id: str
    time: datetime | None
    lead_id: str
    event_id: str
    trace: str
    data: EntryDeadLettered | None
    problem: str = ""

    @property
    def cause(self) -> str:
        """Why the entry was given up, from a closed set but for SMTP codes."""
        return self.data.cause if self.data else self.problem

    @property
    def group(self) -> str:
        """Which group gave it up."""
        return self.data.group if self.data else ""

    @property
    def email_id(self) -> str | None:
        """The mail that the mailer gave up; None when another group's entry is meant, whatever that entry tells of."""
        return self.data.email_id if self.data and self.data.group == keys.MAILER else None

    @cached_property
    def fields(self) -> RawFields:
        """The entry that was given up, byte for byte; empty when it was gone already."""
        if self.data is None:
            return {}
        if self.data.encoding == "base64":
            read = base64.b64decode
            return {read(name): read(value) for name, value in self.data.fields.items()}
        return {name.encode(): value.encode() for name, value in self.data.fields.items()}

    @cached_property
    def request(self) -> EmailRequested | None:
        """The request of the mail that was given up."""
        try:
            data = decode(self.fields).data if self.email_id else None
        except Malformed:
            return None
        return data if isinstance(data, EmailRequested) else None


@dataclass(frozen=True, slots=True)
class Kin:
    """Letters with something in common: how many, since when, and one of them."""

    key: str
    count: int
    oldest: datetime | None
    newest: datetime | None
    example: Letter


@dataclass(frozen=True, slots=True)
class Tally:
    """Letters counted. `counted` of `total` were looked at, the newest ones."""

    groups: tuple[Kin, ...]
    counted: int
    total: int


def read_letter(partition: int, entry: Entry) -> Letter:
    """Reads an entry of the dead letters; never raises."""
    event = entry.event
    if event is None or not isinstance(event.data, EntryDeadLettered):
        problem = entry.problem.cause if entry.problem else "unknown_type"
        return Letter(partition, entry.entry_id, None, "", "", "", None, problem)
    return Letter(partition, entry.entry_id, event.time, event.subject, event.id, event.trace, event.data)


async def find(log: StreamLog, partition: int, entry_id: str) -> Letter | None:
    """The letter at this place, or None once it is closed."""
    entry = await log.read(keys.stream(partition, keys.DEAD), entry_id)
    return read_letter(partition, entry) if entry else None


async def find_any(log: StreamLog, entry_id: str) -> list[Letter]:
    """The letters with this entry id in whichever partition; more than one is possible, if hardly ever."""
    found = [await find(log, number, entry_id) for number in range(log.partitions)]
    return [letter for letter in found if letter]


async def of_mail(log: StreamLog, lead_id: str, email_id: str, at_ms: int | None = None) -> Letter | None:
    """The open letter of a mail. `at_ms` is when it was given up: outcome and letter are stored in one step.

    Without it, or when nothing is there, the newest letters are looked through.
    """
    partition = log.partition(lead_id)
    stream = keys.stream(partition, keys.DEAD)
    near = await log.client.xrange(stream, str(at_ms), str(at_ms)) if at_ms else []
    far = [] if near else await log.client.xrevrange(stream, count=COUNT_UP_TO)
    for entry_id, fields in [*near, *far]:
        if email_id.encode() in fields.get(b"data", b""):
            letter = read_letter(partition, read_entry(stream, entry_id, fields))
            if letter.email_id == email_id:
                return letter
    return await of_mail(log, lead_id, email_id) if near else None


async def total(log: StreamLog) -> int:
    """How many letters are open."""
    return sum([int(await log.client.xlen(keys.stream(number, keys.DEAD))) for number in range(log.partitions)])


async def each(log: StreamLog, keep: Callable[[Letter], bool] = lambda letter: True) -> AsyncIterator[Letter]:
    """Every letter that is open now, oldest first; those that come meanwhile are left out, so a loop ends."""
    for partition in range(log.partitions):
        stream = keys.stream(partition, keys.DEAD)
        newest = await log.client.xrevrange(stream, count=1)
        position, last = "-", newest[0][0].decode() if newest else None
        while last is not None:
            page = await log.client.xrange(stream, position, last, count=_PAGE)
            for entry_id, fields in page:
                letter = read_letter(partition, read_entry(stream, entry_id, fields))
                if keep(letter):
                    yield letter
            if len(page) < _PAGE:
                break
            position = f"({page[-1][0].decode()}"


async def tally(log: StreamLog, by: Callable[[Letter], str], up_to: int = COUNT_UP_TO) -> Tally:
    """Counts letters by what `by` says of each, the most frequent first."""
    newest: list[Letter] = []
    for number in range(log.partitions):
        stream = keys.stream(number, keys.DEAD)
        newest += [read_letter(number, entry) for entry in await log.newest(stream, up_to)]
    newest.sort(key=lambda letter: entry_order(letter.entry_id), reverse=True)
    return Tally(_kin(newest[:up_to], by), min(len(newest), up_to), await total(log))


def _kin(letters: Iterable[Letter], by: Callable[[Letter], str]) -> tuple[Kin, ...]:
    found: dict[str, list[Letter]] = {}
    for letter in letters:
        found.setdefault(by(letter), []).append(letter)
    groups = [Kin(key, len(some), some[-1].time, some[0].time, some[0]) for key, some in found.items()]
    return tuple(sorted(groups, key=lambda kin: (-kin.count, kin.key)))


async def rows(log: StreamLog, letters: Sequence[Letter]) -> dict[str, Row]:
    """The ledger rows of the letters' mails, by mail id, in one round trip."""
    asked = [letter for letter in letters if letter.email_id]
    if not asked:
        return {}
    async with log.client.pipeline(transaction=False) as pipe:
        for letter in asked:
            pipe.hget(keys.ledger(letter.partition, letter.lead_id), letter.email_id)
        found = await pipe.execute()
    pairs = zip(asked, found, strict=True)
    return {letter.email_id: parse_row(row.decode()) for letter, row in pairs if row and letter.email_id}


def attempts_in_all(letter: Letter, row: Row | None) -> int | None:
    """SMTP attempts at the letter's mail, those before earlier redrives too; None when no mail is meant."""
    if letter.email_id is None:
        return None
    before = letter.request.attempts_before if letter.request else 0
    return before + (row.attempts if row else 0)

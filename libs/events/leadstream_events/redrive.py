"""Redrives, drops and settles: each dead letter is closed once and each mail begins again once, whoever asks.

Whoever acts takes a turn first (a key with a lifetime), so that a purchased lead is never set aside twice for one
mail; `lua/redrive.lua` then does everything in one step, and only while letter, row and turn are what they were.
Redis errors pass through as they are: the step may have been carried out then, and asking again tells.
See docs/decisions/0011-redrive.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from leadstream_events import dead_letters, keys, redrive_rules, scripts
from leadstream_events.dead_letters import Letter
from leadstream_events.effects import Argument, due_member
from leadstream_events.envelope import flat
from leadstream_events.erasure import is_erased, own_address
from leadstream_events.errors import NotFound
from leadstream_events.ids import new_id
from leadstream_events.ledger import State, parse_row
from leadstream_events.log import StreamLog, read_entry
from leadstream_events.recipients import NO_LIMIT
from leadstream_events.redrive_rules import TEXT, Actor, How, Mail, Plan, Refusal
from leadstream_events.reservations import Reservation, Settled, member, reserve, settle
from leadstream_events.schemas.events import EmailRequested, Kind
from leadstream_events.schemas.lead import address_key
from leadstream_events.schemas.subscriber import Suppression
from leadstream_events.subscribers import SubscriberStore

TURN_S = 30

_REPLIES = {
    b"lost": Refusal.BUSY,
    b"gone": Refusal.ALREADY,
    b"changed": Refusal.ALREADY,
    b"unread": Refusal.UNREAD,
    b"trimmed": Refusal.GONE,
}


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it: done when `refusal` is None. `entry_id` is the new entry of a mail that begins again."""

    refusal: Refusal | None = None
    entry_id: str = ""
    lead_id: str = ""

    @property
    def text(self) -> str:
        """The refusal in words, with the mend; empty when it was done."""
        return TEXT[self.refusal] if self.refusal else ""


class Redriver:
    """Acts on dead letters and stuck mails. `lease_s` as the mailer has it; `clock` is read at the edge."""

    def __init__(
        self, log: StreamLog, *, lease_s: float, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._log, self._lease_s, self._clock = log, lease_s, clock
        self._subscribers = SubscriberStore(log.client)

    async def redrive(self, partition: int, dead_entry: str, actor: Actor) -> Done:
        """Has a given-up mail sent again, or hands the entry to its group again."""
        letter = await dead_letters.find(self._log, partition, dead_entry)
        if letter is None:
            return Done(Refusal.ALREADY)
        async with self._turn(partition, letter.email_id or dead_entry) as token:
            # Read anew: before the turn came somebody else may have closed it.
            letter = await dead_letters.find(self._log, partition, dead_entry) if token else letter
            return await self._redrive(partition, letter, await self._mail_of(letter), actor, token)

    async def resend(self, lead_id: str, email_id: str, actor: Actor, *, at_ms: int | None = None) -> Done:
        """Has a failed or held mail sent again; its letter is closed with it. `at_ms`: see `dead_letters.of_mail`."""
        partition = self._log.partition(lead_id)
        async with self._turn(partition, email_id) as token:
            letter = await dead_letters.of_mail(self._log, lead_id, email_id, at_ms)
            mail = await self._mail(partition, lead_id, email_id, letter)
            if mail is None:
                return Done(Refusal.GONE)
            return await self._redrive(partition, letter, mail, actor, token)

    async def send_held_back(self, lead_id: str, email_id: str, actor: Actor) -> Done:
        """Has a mail sent that was skipped while its address got none; `ALREADY` when it was not skipped."""
        partition = self._log.partition(lead_id)
        async with self._turn(partition, email_id) as token:
            mail = await self._mail(partition, lead_id, email_id, None)
            if mail is None or mail.request is None:
                return Done(Refusal.GONE, lead_id=lead_id)
            if mail.row.state is not State.SKIPPED:
                return Done(Refusal.ALREADY, lead_id=lead_id)
            return await self._redrive(partition, None, mail, actor, token, held_back=True)

    async def drop(self, partition: int, dead_entry: str, actor: Actor) -> Done:
        """Closes a letter for good; the reason is kept in the lead's timeline."""
        letter = await dead_letters.find(self._log, partition, dead_entry)
        if letter is None:
            return Done(Refusal.ALREADY)
        async with self._turn(partition, letter.email_id or dead_entry) as token:
            mail = await self._mail_of(letter)
            plan = redrive_rules.drop(letter, mail, actor, self._clock())
            return await self._run(partition, letter, mail, plan, token)

    async def settle(self, lead_id: str, email_id: str, actor: Actor, *, sent: bool, at_ms: int | None = None) -> Done:
        """Ends a held mail as sent or not sent, and closes its letter."""
        partition = self._log.partition(lead_id)
        async with self._turn(partition, email_id) as token:
            letter = await dead_letters.of_mail(self._log, lead_id, email_id, at_ms)
            mail = await self._mail(partition, lead_id, email_id, letter)
            if mail is None:
                return Done(Refusal.NOT_HELD)
            plan = redrive_rules.settle(letter, mail, sent=sent, actor=actor, now=self._clock())
            return await self._run(partition, letter, mail, plan, token)

    async def redrive_all(
        self, keep: Callable[[Letter], bool], actor: Actor, *, limit: int | None = None
    ) -> Counter[Refusal | None]:
        """Redrives every letter that is open now and that `keep` wants, oldest first, at most `limit`.

        Returns how many ended how; None stands for redriven. Letters that come back meanwhile are not done again.
        """
        done: Counter[Refusal | None] = Counter()
        async for letter in dead_letters.each(self._log, keep):
            if limit is not None and done.total() >= limit:
                break
            done[(await self.redrive(letter.partition, letter.entry_id, actor)).refusal] += 1
        return done

    @asynccontextmanager
    async def _turn(self, partition: int, what: str) -> AsyncIterator[str]:
        """The token of the turn, or '' while it is somebody else's."""
        key, token = keys.turn(partition, what), new_id()
        got = await self._log.client.set(key, token, nx=True, ex=TURN_S)
        try:
            yield f"{what} {token}" if got else ""
        finally:
            if got and await self._log.client.get(key) == token.encode():
                await self._log.client.delete(key)

    async def _redrive(
        self,
        partition: int,
        letter: Letter | None,
        mail: Mail | None,
        actor: Actor,
        token: str,
        *,
        held_back: bool = False,
    ) -> Done:
        plan = redrive_rules.redrive(letter, mail, actor, self._clock(), self._lease_s, held_back=held_back)
        if isinstance(plan, Plan) and mail and token:
            plan = await self._unwanted(mail) or await self._reserve(mail) or plan
        done = await self._run(partition, letter, mail, plan, token)
        if isinstance(plan, Plan) and mail and done.refusal not in (None, Refusal.BUSY):
            await self._give_back(mail)
        return done

    async def _mail_of(self, letter: Letter | None) -> Mail | None:
        if letter is None or letter.email_id is None:
            return None
        return await self._mail(letter.partition, letter.lead_id, letter.email_id, letter)

    async def _mail(self, partition: int, lead_id: str, email_id: str, letter: Letter | None) -> Mail | None:
        stored = await self._log.client.hget(keys.ledger(partition, lead_id), email_id)
        try:
            row = parse_row(stored.decode()) if stored else None
        except ValueError:
            row = None
        if row is None:
            return None
        stream = keys.stream(partition, keys.EMAILS)
        if letter and letter.fields:
            entry = read_entry(stream, b"-", letter.fields)
        else:
            found = await self._log.read(stream, row.entry) if row.entry != "-" else None
            if found is None:
                return Mail(lead_id, email_id, row, None)
            entry = found
        event = entry.event
        request = event.data if event and isinstance(event.data, EmailRequested) else None
        return Mail(lead_id, email_id, row, request, event.id if event else "", event.trace if event else "")

    async def _unwanted(self, mail: Mail) -> Refusal | None:
        """Why the mailer would skip the mail: better said now than found out later."""
        assert mail.request is not None  # noqa: S101  -- a plan to redrive was made from it
        partition = self._log.partition(mail.lead_id)
        if is_erased(await self._log.client.hget(keys.ledger(partition, mail.lead_id), "lead")):
            return Refusal.ERASED
        address = mail.request.to or await own_address(self._log, partition, mail.request.lead_entry)
        if mail.request.kind is Kind.NOTIFICATION and mail.request.subscriber_id:
            try:
                subscriber = await self._subscribers.get(mail.request.subscriber_id)
            except NotFound:
                return Refusal.REMOVED
            if not subscriber.active:
                return Refusal.INACTIVE
            address = subscriber.email
        raw = await self._log.client.hget(keys.SUPPRESSIONS, address_key(address))
        held = raw is not None and Suppression.model_validate_json(raw).holds(self._clock())
        return Refusal.SUPPRESSED if held else None

    async def _reserve(self, mail: Mail) -> Refusal | None:
        subscriber_id = mail.request.subscriber_id if mail.request else None
        if subscriber_id is None:
            return None
        purchased = (await self._subscribers.get(subscriber_id)).leads_purchased
        name = member(mail.email_id, redrive_rules.reservation(mail))
        wanted = Reservation(name, subscriber_id, NO_LIMIT if purchased is None else purchased)
        (granted,) = await reserve(self._log.client, [wanted])
        return None if granted else Refusal.NOTHING_LEFT

    async def _give_back(self, mail: Mail) -> None:
        """The mail does not begin again: gives back what was set aside for that, not what it had before."""
        subscriber_id = mail.request.subscriber_id if mail.request else None
        if subscriber_id and redrive_rules.gave_back(mail):
            name = member(mail.email_id, redrive_rules.reservation(mail))
            await settle(self._log.client, [Settled(name, subscriber_id, False, self._clock())])

    async def _run(
        self, partition: int, letter: Letter | None, mail: Mail | None, plan: Plan | Refusal, token: str
    ) -> Done:
        lead_id = mail.lead_id if mail else (letter.lead_id if letter else "")
        if not token:
            return Done(Refusal.BUSY, lead_id=lead_id)
        if isinstance(plan, Refusal):
            return Done(plan, lead_id=lead_id)
        what, _, secret = token.partition(" ")
        data = letter.data if letter else None
        stream = keys.stream(partition, data.stream if data else keys.EMAILS)
        group, entry = (data.group, data.entry_id) if data else (keys.MAILER, "")
        names = [
            keys.stream(partition, keys.DEAD),
            keys.turn(partition, what),
            keys.ledger(partition, lead_id),
            keys.stream(partition, keys.OUTCOMES),
            stream,
            keys.due(partition, group),
        ]
        args: list[Argument] = [secret, letter.entry_id if letter else "", *_row_change(mail, plan), plan.how.value]
        args += [group, keys.PARKED, entry, due_member(stream, entry)]
        for event in (plan.again, *plan.outcomes):
            fields = flat(event) if event else []
            args += [len(fields), *fields]
        what_came, detail = await scripts.run(self._log.client, scripts.REDRIVE, names, args)
        if what_came == b"ok":
            return Done(None, detail.decode(), lead_id)
        return Done(_REPLIES[what_came], lead_id=lead_id)


def _row_change(mail: Mail | None, plan: Plan) -> tuple[str, str, str]:
    """Mail id, the row it must have, the row it gets; blank when no mail is meant."""
    if mail is None or plan.row is None or plan.how is How.DELIVER:
        return "", "", ""
    return mail.email_id, str(mail.row), str(plan.row)

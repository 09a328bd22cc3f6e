"""Whatever order appends, reads, claims, attempts, commits, retries, trims and redrives come in: nothing is lost.

Three consumers work on a real server, stale ones among them; a model says what must be pending, parked and in the
ledger after every step. Leases have run out at once, so anybody may claim anything at any moment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument, Settlement, Verb, due
from leadstream_events.envelope import encode, flat, make_event
from leadstream_events.ledger import Row, State, parse_row
from leadstream_events.log import read_entry
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.schemas.events import EmailFailed, EmailRequested, EmailSent, Kind
from leadstream_mail.attempt_rules import RETRIES_EXHAUSTED
from leadstream_mailer import verdict
from leadstream_mailer.verdict import Attempt
from tests.faults.stream_model import RETRIES, UNKNOWNS, Mail, begin, held_by
from tests.faults.stream_steps import CONSUMERS, LEASE_MS, OUTCOMES, RULES, Handle, LeadSteps
from tests.support.redis_server import RedisServer


class Streams(LeadSteps):
    """The whole machine."""

    # -- mails --------------------------------------------------------------------------------------------------

    def _take(self, consumer: str, deliveries: list[Delivery]) -> None:
        for item in deliveries:
            assert item.event and isinstance(item.event.data, EmailRequested), (
                "an unfinished entry has lost its content"
            )
            self.group.pending[item.entry_id] = consumer
            self.handles.append(Handle(consumer, Attempt(item, item.event, item.event.data)))

    @precondition(lambda self: self.group.unread)
    @rule(consumer=st.sampled_from(CONSUMERS), count=st.integers(1, 4))
    def read(self, consumer: str, count: int) -> None:
        got = self.run(self.sources[consumer].read_new(count, 0.001))
        assert [item.entry_id for item in got] == self.group.read(consumer, count)
        self._take(consumer, got)

    @precondition(lambda self: self.group.pending)
    @rule(consumer=st.sampled_from(CONSUMERS), count=st.integers(1, 4))
    def claim(self, consumer: str, count: int) -> None:
        orphans = self.group.orphans(consumer)
        mine = [(keys.stream(0, "emails"), entry) for entry, owner in self.group.pending.items() if owner == consumer]
        claimed = self.run(self.sources[consumer].claim_orphans(count, mine))
        # Without a lease a claimer finds again, among its own, what it has claimed a moment ago.
        got = {item.entry_id: item for item in claimed.orphans}
        assert not claimed.poison
        assert got.keys() <= orphans
        assert bool(got) == bool(orphans)
        self._take(consumer, list(got.values()))

    @precondition(lambda self: self.group.parked())
    @rule(consumer=st.sampled_from(CONSUMERS), count=st.integers(1, 4))
    def due(self, consumer: str, count: int) -> None:
        """Also finds what a stale worker had parked after its entry was finished: that is dropped."""
        parked, listed = self.group.parked(), self.run(self.client.zcard(keys.due(0, keys.MAILER)))
        got, _ = self.run(self.sources[consumer].take_due(count))
        taken = [item for item in got if item.entry_id in parked]
        assert all(item.event is None for item in got if item.entry_id not in parked)
        assert count < listed or {item.entry_id for item in taken} == parked
        self._take(consumer, taken)

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Asks the ledger; a stale worker may ask as well."""
        handle = data.draw(st.sampled_from(self.handles))
        mail, owner = self.mails[handle.mail], handle.consumer
        args: list[Argument] = [owner, RULES.max_attempts, LEASE_MS, 1, handle.mail, handle.entry, 0]
        [[answer, number, unknowns, _]] = self.run(
            scripts.run(self.client, scripts.BEGIN, [handle.attempt.ledger], args)
        )
        wanted, after = begin(mail, owner, handle.entry)
        assert answer.decode() == wanted
        self.mails[handle.mail] = after
        asked = handle.attempt
        attempt = Attempt(asked.delivery, asked.event, asked.request, owner, number, unknowns)
        if wanted == "go":
            self.handles.append(Handle(owner, attempt))
        elif wanted == "unknown":
            self._finish(handle, verdict.cut_off(attempt, RULES, datetime.now(UTC)), "unknown", None)
        elif wanted == "exhausted":
            settlement = verdict.failed(attempt, RETRIES_EXHAUSTED, None, datetime.now(UTC))
            if self._commit(keys.MAILER, owner, [settlement])[0]:
                self._ended(handle, State.FAILED)
        elif wanted == "done":
            stream = asked.delivery.stream
            self._commit(keys.MAILER, owner, [Settlement(stream, handle.entry)])
            self.group.ack(handle.entry)
        else:
            self._release(handle)

    def _release(self, handle: Handle) -> None:
        """Parks the delivery of a mail that another entry's attempt is sending."""
        delivery = handle.attempt.delivery
        back = due(keys.due(0, keys.MAILER), delivery.stream, delivery.entry_id, 0.0)
        settlement = Settlement(delivery.stream, delivery.entry_id, (back,), Verb.PARK)
        done = self._commit(keys.MAILER, handle.consumer, [settlement])[0]
        assert done == (self.group.pending.get(handle.entry) == handle.consumer)
        if done:
            self.group.pending[handle.entry] = keys.PARKED

    @precondition(lambda self: any(handle.attempt.number for handle in self.handles))
    @rule(data=st.data())
    def note_data(self, data: st.DataObject) -> None:
        """The last look before the content goes out: only the attempt's owner may pass."""
        handle = data.draw(st.sampled_from([handle for handle in self.handles if handle.attempt.number]))
        args: list[Argument] = [handle.consumer, "data", 1, handle.mail, handle.attempt.number]
        [noted] = self.run(scripts.run(self.client, scripts.PHASE, [handle.attempt.ledger], args))
        mail = self.mails[handle.mail]
        held = mail.state is State.SENDING and (mail.attempts, mail.owner) == (handle.attempt.number, handle.consumer)
        assert bool(noted) == held
        if held:
            self.mails[handle.mail] = replace(mail, phase="data")

    @precondition(lambda self: any(handle.attempt.number for handle in self.handles))
    @rule(data=st.data(), outcome=st.sampled_from(sorted(OUTCOMES)))
    def answer(self, data: st.DataObject, outcome: str) -> None:
        """The server answered an attempt, or did not; a stale worker's answer changes nothing."""
        handle = data.draw(st.sampled_from([handle for handle in self.handles if handle.attempt.number]))
        settlement = verdict.after(handle.attempt, OUTCOMES[outcome], RULES, datetime.now(UTC))  # type: ignore[arg-type]
        self._finish(handle, settlement, outcome, handle.consumer)

    def _finish(self, handle: Handle, settlement: Settlement, outcome: str, owner: str | None) -> None:
        mail = self.mails[handle.mail]
        number, unknowns = (handle.attempt.number, handle.attempt.unknowns) if owner else (mail.attempts, mail.unknowns)
        holds = held_by(mail, number, unknowns, owner)
        assert self._commit(keys.MAILER, handle.consumer, [settlement])[0] == holds
        if not holds:
            return
        last = number > RETRIES
        if outcome == "unknown":
            again = unknowns < UNKNOWNS and not last
            after = replace(mail, unknowns=unknowns + 1, owner="-", phase="data", entry=handle.entry)
            if not again:
                self._ended(handle, State.HELD, after)
                return
            self._park(handle, replace(after, state=State.UNKNOWN))
        elif outcome == "deferred" and not last:
            self._park(handle, replace(mail, state=State.DEFERRED, owner="-", phase="rcpt", entry=handle.entry))
        else:
            self._ended(handle, State.SENT if outcome == "sent" else State.FAILED)

    def _park(self, handle: Handle, after: Mail) -> None:
        self.mails[handle.mail] = after
        if handle.entry in self.group.pending:  # else a stale worker's; the mail has another entry
            self.group.pending[handle.entry] = keys.PARKED

    def _ended(self, handle: Handle, state: State, after: Mail | None = None) -> None:
        self.mails[handle.mail] = replace(after or self.mails[handle.mail], state=state)
        self.group.ack(handle.entry)

    # -- a person -----------------------------------------------------------------------------------------------

    @precondition(lambda self: any(mail.state in (State.FAILED, State.HELD) for mail in self.mails.values()))
    @rule(data=st.data())
    def redrive(self, data: st.DataObject) -> None:
        """A given-up mail is requested anew: a new entry and a fresh row, in one transaction."""
        given_up = sorted(mail for mail, row in self.mails.items() if row.state in (State.FAILED, State.HELD))
        mail = data.draw(st.sampled_from(given_up))
        lead = self.mails[mail].lead
        request = EmailRequested(
            email_id=mail, kind=Kind.NOTIFICATION, subscriber_id="s", to="s@example.com", lead_entry="0-1"
        )
        event = make_event(request, subject=lead, now=datetime.now(UTC))

        async def store() -> str:
            async with self.client.pipeline(transaction=True) as pipe:
                pipe.hset(keys.ledger(0, lead), mail, str(Row(State.REQUESTED)))
                pipe.xadd(keys.stream(0, keys.EMAILS), encode(event))
                return str((await pipe.execute())[1].decode())

        assert flat(event)
        entry = self.run(store())
        self.redriven[mail] += 1
        self.mails[mail] = Mail(lead)
        self.entries[entry] = mail
        self.group.unread.append(entry)

    @precondition(lambda self: self.group.done)
    @rule()
    def trim(self) -> None:
        """Deletes what the group's checkpoint says is finished."""
        stream = keys.stream(0, keys.EMAILS)
        mark = self.run(self.client.hget(keys.checkpoints(0), f"{keys.MAILER} {stream}"))
        if mark:
            self.run(self.client.xtrim(stream, minid=mark.decode().lstrip("<"), approximate=False))

    # -- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def pending_is_as_the_model_says(self) -> None:
        page = self.run(self.client.xpending_range(keys.stream(0, "emails"), keys.MAILER, "-", "+", 10_000))
        found = {item["message_id"].decode(): item["consumer"].decode() for item in page}
        assert found == self.group.pending
        parked = self.run(self.client.zrange(keys.due(0, keys.MAILER), 0, -1))
        assert self.group.parked() <= {member.decode().split()[1] for member in parked}

    @invariant()
    def the_ledger_is_as_the_model_says(self) -> None:
        for mail, wanted in self.mails.items():
            row = parse_row(self.run(self.client.hget(keys.ledger(0, wanted.lead), mail)).decode())
            assert (row.state, row.attempts, row.unknowns) == (wanted.state, wanted.attempts, wanted.unknowns)
            if row.state is State.SENDING:
                assert (row.owner, row.phase, row.entry) == (wanted.owner, wanted.phase, wanted.entry)

    @invariant()
    def nothing_unfinished_is_lost(self) -> None:
        alive = {*self.group.unread, *self.group.pending}
        stored = {entry.decode() for entry, _ in self.run(self.client.xrange(keys.stream(0, "emails")))}
        assert alive <= stored, "an unfinished entry was trimmed"
        reachable = {self.entries[entry] for entry in alive}
        assert {mail for mail, row in self.mails.items() if not row.final} <= reachable

    @invariant()
    def every_outcome_is_told_at_most_once(self) -> None:
        told: Counter[str] = Counter()
        for entry_id, fields in self.run(self.client.xrange(keys.stream(0, "outcomes"))):
            event = read_entry("outcomes", entry_id, fields).event
            if event and isinstance(event.data, EmailSent | EmailFailed):
                told[event.data.email_id] += 1
        for mail, count in told.items():
            assert count <= 1 + self.redriven[mail]
        sent_or_failed = [mail for mail, row in self.mails.items() if row.state in (State.SENT, State.FAILED)]
        assert all(told[mail] for mail in sent_or_failed)
        assert len(self.leads) == len(self.fanout.unread) + len(self.fanout.pending) + len(self.fanout.done)


@pytest.mark.hypothesis
@pytest.mark.slow
def test_no_order_of_steps_loses_or_doubles_anything(redis_server: RedisServer) -> None:
    machine = type("StreamsOnServer", (Streams,), {"server": redis_server})
    chosen = settings.default
    assert chosen is not None
    examples = chosen.max_examples if chosen.max_examples > 100 else 15
    run_state_machine_as_test(machine, settings=settings(chosen, max_examples=examples, stateful_step_count=50))

"""The first half of the state machine: what it is made of, leads that are appended, and fan-out that may die."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from leadstream_events import keys, scripts
from leadstream_events.effects import Settlement, commit_call
from leadstream_events.envelope import make_event
from leadstream_events.errors import Conflict
from leadstream_events.ids import email_id, lead_id_for_key
from leadstream_events.log import StreamLog, read_entry
from leadstream_events.recipients import Candidate
from leadstream_events.redis_client import connect
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.runtime.policy import ConsumerPolicy
from leadstream_events.runtime.source import GroupSource
from leadstream_events.schemas.events import EmailRequested, Kind, LeadReceived, SmtpFailure
from leadstream_events.schemas.lead import Lead
from leadstream_events.setting_values import OnUnknown
from leadstream_events.writer import PipelinedWriter
from leadstream_mail.attempt_rules import AttemptRules
from leadstream_mail.smtp.outcome import Accepted, Deferred, Refused, Unknown
from leadstream_mailer.fanout_rules import request
from leadstream_mailer.verdict import Attempt
from tests.faults.stream_model import RETRIES, Group, Mail
from tests.support.redis_server import RedisServer

T = TypeVar("T")
CONSUMERS = ("one", "two", "three")
RULES = AttemptRules("leads@example.com", RETRIES + 1, (0.0,), OnUnknown.RESEND)
FAILURE = SmtpFailure(permanent=False, phase="rcpt", code=451, line="later", cause="deferred")
OUTCOMES = {
    "sent": Accepted(250, "2.0.0 ok"),
    "deferred": Deferred(FAILURE),
    "refused": Refused(FAILURE),
    "unknown": Unknown(FAILURE),
}
LEASE_MS = 3_600_000


@dataclass(frozen=True)
class Handle:
    """A delivery in the hands of a consumer, perhaps a stale one; with its attempt once it is begun."""

    consumer: str
    attempt: Attempt

    @property
    def mail(self) -> str:
        """The mail's id."""
        return self.attempt.request.email_id

    @property
    def entry(self) -> str:
        """The entry's id."""
        return self.attempt.delivery.entry_id


class LeadSteps(RuleBasedStateMachine):
    """The machine up to the requested mails; `server` is set before it runs."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.server.flush()
        self.runner = asyncio.Runner()
        self.client = connect(self.server.url, timeout_s=10.0)
        self.leads: dict[str, str] = {}
        self.mails: dict[str, Mail] = {}
        self.entries: dict[str, str] = {}
        self.group, self.fanout = Group(), Group()
        self.handles: list[Handle] = []
        self.redriven: Counter[str] = Counter()
        policy = ConsumerPolicy(lease_s=0.0, max_deliveries=10_000)
        self.sources = {
            name: GroupSource(
                self.client,
                self.client,
                group=keys.MAILER,
                consumer=name,
                partition=0,
                streams=["emails"],
                policy=policy,
            )
            for name in CONSUMERS
        }
        self.fan = GroupSource(
            self.client, self.client, group=keys.FANOUT, consumer="fan", partition=0, streams=["leads"], policy=policy
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the machine's own loop."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """Closes what the machine opened."""
        self.run(self.client.aclose())
        self.runner.close()

    @initialize()
    def begin_with_mails(self) -> None:
        """Groups, and two requested mails: most steps are then about what can go wrong with them."""
        for source in (*self.sources.values(), self.fan):
            self.run(source.ensure_groups())
        for key in "ab":
            self.append(key=key, body="x")
        self.fan_out(count=2, dies=False)

    # -- leads --------------------------------------------------------------------------------------------------

    @rule(key=st.sampled_from("abcdef"), body=st.sampled_from(("x", "y")))
    def append(self, key: str, body: str) -> None:
        lead, before = lead_id_for_key("test", key), self.leads.get(key)
        data = LeadReceived(lead=Lead(full_name="Vera", email="v@example.com"))
        event = make_event(data, subject=lead, now=datetime.now(UTC))

        async def store() -> str:
            async with PipelinedWriter(self.client) as writer:
                log = StreamLog(self.client, writer, partitions=1, deadline_s=10.0)
                return (await log.append_lead(event, body)).entry_id

        if before is not None and before != body:
            with pytest.raises(Conflict):
                self.run(store())
            return
        entry = self.run(store())
        if before is None:
            self.leads[key] = body
            self.fanout.unread.append(entry)

    @precondition(lambda self: self.fanout.unread or self.fanout.pending)
    @rule(count=st.integers(1, 3), dies=st.booleans())
    def fan_out(self, count: int, dies: bool) -> None:
        """Reads leads; a fan-out that dies leaves them pending, and what it left is taken up the next time."""
        fresh = self.run(self.fan.read_new(count, 0.001))
        assert [item.entry_id for item in fresh] == self.fanout.read("fan", count)
        taken = [*self.run(self.fan.claim_orphans(10, ())).orphans] if not dies else []
        settlements = [self._requests(delivery) for delivery in taken]
        for settlement, done in zip(settlements, self._commit(keys.FANOUT, "fan", settlements), strict=True):
            assert done
            self.fanout.ack(settlement.entry_id)
        known = set(self.entries)
        for entry_id, fields in self.run(self.client.xrange(keys.stream(0, keys.EMAILS))):
            if entry_id.decode() not in known:
                self._requested(entry_id, fields)

    def _requests(self, delivery: Delivery) -> Settlement:
        assert delivery.event
        mail = email_id(delivery.event.subject, Kind.NOTIFICATION, "s")
        candidate = Candidate(
            email_id=mail, kind=Kind.NOTIFICATION, subscriber_id="s", to="s@example.com", purchased=-1
        )
        effects = request(candidate, delivery.event, delivery.entry_id, 0, datetime.now(UTC), reserved=False)
        return Settlement(delivery.stream, delivery.entry_id, effects)

    def _requested(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        event = read_entry("emails", entry_id, fields).event
        assert event and isinstance(event.data, EmailRequested)
        assert event.data.email_id not in self.mails, "a mail was requested twice"
        self.mails[event.data.email_id] = Mail(event.subject)
        self.entries[entry_id.decode()] = event.data.email_id
        self.group.unread.append(entry_id.decode())

    def _commit(self, group: str, consumer: str, settlements: list[Settlement]) -> list[bool]:
        """Commits twice, as after a lost reply: the second time nothing may happen."""
        names, args = commit_call(group, consumer, keys.checkpoints(0), settlements)
        first = self.run(scripts.run(self.client, scripts.COMMIT, names, args))
        again = self.run(scripts.run(self.client, scripts.COMMIT, names, args))
        assert not any(again), "a repeated commit took effect twice"
        return [reply == 1 for reply in first]

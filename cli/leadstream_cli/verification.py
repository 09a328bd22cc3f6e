"""Whether everything that was due arrived exactly once, and every counter says so: pure, from three independent sides.

`Expected` comes from the input files by the rules of the contract, `Arrival`s from the inbox, `Counters` from the
projections and the quotas. `check` returns what differs, in words; an empty list is the proof.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

WELCOME, NOTIFICATION = "welcome", "notification"


@dataclass(frozen=True, slots=True)
class Due:
    """What one recipient is owed: `count` mails about distinct leads out of `leads`."""

    recipient: str
    leads: frozenset[str]
    count: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What the input asks for. `subscribers` holds those with nothing due too; `welcome` the leads to be welcomed."""

    leads: frozenset[str]
    subscribers: tuple[Due, ...]
    welcome: frozenset[str]

    @property
    def notifications(self) -> int:
        """Mails to subscribers."""
        return sum(due.count for due in self.subscribers)

    @property
    def mails(self) -> int:
        """Mails in all."""
        return self.notifications + len(self.welcome)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One mail in the inbox, to one recipient."""

    kind: str
    lead_id: str
    recipient: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Counters:
    """What leadstream says: totals, and per subscriber address the projection's `sent` and the quota's."""

    totals: Mapping[str, int]
    sent: Mapping[str, int]
    leads_sent: Mapping[str, int] = field(default_factory=dict)


def check(expected: Expected, inbox: Iterable[Arrival], counters: Counters) -> list[str]:
    """Returns every difference; counters are compared with the expectation and with the inbox."""
    mails = list(inbox)
    return [
        *_doubled(mails),
        *_notifications(expected, mails),
        *_welcomes(expected, mails),
        *_totals(expected, mails, counters),
        *_per_subscriber(expected, mails, counters),
    ]


def _doubled(mails: Sequence[Arrival]) -> list[str]:
    """By Message-ID, and by what the mail says: two ids for one mail are a double too."""
    by_id = Counter((mail.message_id, mail.recipient) for mail in mails)
    by_sense = Counter((mail.kind, mail.lead_id, mail.recipient) for mail in mails)
    out = [f"mail {item} arrived {n} times at {who}" for (item, who), n in by_id.items() if n > 1]
    if not out:
        out += [
            f"the {kind} about lead {lead} arrived {n} times at {who} under different Message-IDs"
            for (kind, lead, who), n in by_sense.items()
            if n > 1
        ]
    return out


def _notifications(expected: Expected, mails: Sequence[Arrival]) -> list[str]:
    arrived: dict[str, set[str]] = {}
    for mail in mails:
        if mail.kind == NOTIFICATION:
            arrived.setdefault(mail.recipient, set()).add(mail.lead_id)
    out = []
    for due in expected.subscribers:
        got = arrived.pop(due.recipient, set())
        if len(got) != due.count:
            out.append(f"{due.recipient}: {due.count} leads are due, {len(got)} arrived{_which(due, got)}")
        out += [f"{due.recipient}: lead {lead} arrived but is not due" for lead in sorted(got - due.leads)]
    out += [f"{who}: {len(got)} mails arrived, but nothing is due there" for who, got in sorted(arrived.items())]
    return out


def _which(due: Due, got: set[str]) -> str:
    missing = sorted(due.leads - got)
    certain = len(due.leads) == due.count  # with a quota, any `count` of them will do
    return f" (missing: {', '.join(missing[:5])})" if certain and missing else ""


def _welcomes(expected: Expected, mails: Sequence[Arrival]) -> list[str]:
    got = {mail.lead_id for mail in mails if mail.kind == WELCOME}
    out = [f"lead {lead}: its welcome mail is missing" for lead in sorted(expected.welcome - got)]
    return out + [f"lead {lead}: a welcome mail arrived that is not due" for lead in sorted(got - expected.welcome)]


def _totals(expected: Expected, mails: Sequence[Arrival], counters: Counters) -> list[str]:
    arrived = Counter(mail.kind for mail in mails)
    wanted = {
        "leads": (len(expected.leads), None),
        "requested": (expected.mails, None),
        "sent": (expected.mails, len(mails)),
        "sent:notification": (expected.notifications, arrived[NOTIFICATION]),
        "sent:welcome": (len(expected.welcome), arrived[WELCOME]),
        "failed": (0, None),
        "skipped": (0, None),
        "unknown": (0, None),
    }
    out = []
    for name, (due, inbox) in wanted.items():
        counted = counters.totals.get(name, 0)
        if counted != due:
            out.append(f"counter {name} is {counted}, {due} expected")
        if inbox is not None and counted != inbox:
            out.append(f"counter {name} is {counted}, the inbox has {inbox}")
    return out


def _per_subscriber(expected: Expected, mails: Sequence[Arrival], counters: Counters) -> list[str]:
    arrived = Counter(mail.recipient for mail in mails if mail.kind == NOTIFICATION)
    out = []
    for due in expected.subscribers:
        for name, counted in (("sent", counters.sent), ("leads_sent", counters.leads_sent)):
            value = counted.get(due.recipient, 0)
            if value != due.count:
                out.append(f"{due.recipient}: {name} is {value}, {due.count} expected")
            if value != arrived[due.recipient]:
                out.append(f"{due.recipient}: {name} is {value}, the inbox has {arrived[due.recipient]}")
    return out

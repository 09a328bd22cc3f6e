"""A second, plainly written count of raw entries. It shares nothing with `counters.py`, so that a mistake there shows.

Only the codec is shared, and only to ask whether an entry can be read at all: what nobody can read counts nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from leadstream_events.envelope import decode
from leadstream_events.errors import Malformed

# Counter to its value, by the part of the key (`` for the one hash of totals and subscribers).
Counts = dict[str, dict[str, int | str]]

TIMED = ("leads", "requested", "sent", "deferred", "failed", "skipped", "unknown")
SHORT = {
    "EmailRequested": "requested",
    "EmailSent": "sent",
    "EmailDeferred": "deferred",
    "EmailFailed": "failed",
    "EmailSkipped": "skipped",
    "EmailOutcomeUnknown": "unknown",
    "EmailBounced": "bounced",
    "EmailComplained": "complained",
}
OF_A_LEAD = {*SHORT, "LeadReceived", "LeadErased", "MailSettled", "DeadLetterRedriven", "DeadLetterDropped"}


@dataclass(frozen=True, slots=True)
class Raw:
    """An entry as it lies there: `kind` is its type, `data` its JSON."""

    stream: str
    entry_id: str
    id: str
    kind: str
    time: str
    subject: str
    data: Mapping[str, Any]

    @property
    def metric(self) -> str | None:
        """What it counts as: a redriven mail was requested before, and a settled one ended as a person found out."""
        if self.kind == "LeadReceived":
            return "leads"
        if self.kind == "MailSettled":
            return "sent" if self.data["sent"] else "failed"
        if self.kind == "EmailRequested" and self.data.get("redrives", 0) > 0:
            return None
        if self.kind in ("EmailBounced", "EmailComplained") and self.data.get("again"):
            return None
        return SHORT.get(self.kind)


def read_raw(stream: str, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Raw | None:
    """Reads an entry, or returns None when nobody can."""
    try:
        decode(fields)
    except Malformed:
        return None
    id_, kind, time, subject = (fields[name].decode() for name in (b"id", b"type", b"time", b"subject"))
    return Raw(stream, entry_id.decode(), id_, kind, time, subject, json.loads(fields[b"data"]))


@dataclass(slots=True)
class Tally:
    """Counts one projection. `bucket` of `buckets` says which leads the per-lead count is about: all do not fit."""

    projection: str
    bucket: int = 0
    buckets: int = 1
    counts: Counts = field(default_factory=dict)

    def take(self, entry: Raw) -> None:
        """Counts one entry."""
        match self.projection:
            case "totals":
                self._totals(entry)
            case "subscribers":
                self._subscribers(entry)
            case "leads":
                self._lead(entry)
            case "series":
                self._series(entry)

    def _add(self, part: str, name: str) -> None:
        counters = self.counts.setdefault(part, {})
        counters[name] = int(counters.get(name, 0)) + 1

    def _latest(self, part: str, name: str, value: str) -> None:
        counters = self.counts.setdefault(part, {})
        counters[name] = max(str(counters.get(name, "")), value)

    def _totals(self, entry: Raw) -> None:
        metric, data = entry.metric, entry.data
        if metric is None:
            return
        self._add("", metric)
        if metric == "leads":
            return
        self._add("", f"{metric}:{data['kind']}")
        if entry.kind == "EmailFailed":
            self._add("", f"failed:{data['cause']}")
        elif entry.kind == "MailSettled" and metric == "failed":
            self._add("", "failed:settled")
        elif metric == "skipped":
            self._add("", f"skipped:{data['reason']}")
        if entry.kind in ("EmailSent", "EmailDeferred", "EmailOutcomeUnknown") or (
            entry.kind == "EmailFailed" and data.get("failure")
        ):
            self._add("", "attempts")

    def _subscribers(self, entry: Raw) -> None:
        who, metric = entry.data.get("subscriber_id"), entry.metric
        if entry.kind == "LeadReceived" or not who or not metric:
            return
        self._add("", f"{who}:{metric}")
        if metric == "sent":
            self._latest("", f"{who}:last_sent", _utc(entry.time).isoformat(timespec="milliseconds")[:-6] + "Z")

    def _lead(self, entry: Raw) -> None:
        if entry.kind not in OF_A_LEAD or bucket_of(entry.subject, self.buckets) != self.bucket:
            return
        self._latest(entry.subject, f"@{entry.id}", f"{entry.stream} {entry.entry_id}")
        if entry.metric and entry.kind != "LeadReceived":
            self._add(entry.subject, entry.metric)

    def _series(self, entry: Raw) -> None:
        metric = entry.metric
        if metric not in TIMED:
            return
        at = _utc(entry.time)
        for name in (metric, f"sent:{entry.data['kind']}") if metric == "sent" else (metric,):
            self._add(f"minute:{at:%Y%m%d}", f"{at:%H:%M} {name}")
            self._add(f"hour:{at:%Y%m}", f"{at:%dT%H} {name}")
            self._add(f"day:{at:%Y}", f"{at:%m-%d} {name}")


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def bucket_of(lead_id: str, buckets: int) -> int:
    """Which share of the leads this one belongs to."""
    return sum(lead_id.encode()) % buckets if buckets > 1 else 0


@dataclass(slots=True)
class SentLeads:
    """Per subscriber, how many reserved leads ended as sent: the first end of a reservation is what counts."""

    ended: set[tuple[str, int]] = field(default_factory=set)
    sent: dict[str, int] = field(default_factory=dict)

    def take(self, entry: Raw) -> None:
        """Counts one outcome."""
        who = entry.data.get("subscriber_id")
        if entry.kind not in ("EmailSent", "EmailFailed", "EmailSkipped", "MailSettled") or not who:
            return
        reservation = entry.data["email_id"], int(entry.data.get("reservation", 0))
        if reservation in self.ended:
            return
        self.ended.add(reservation)
        if entry.metric == "sent":
            self.sent[who] = self.sent.get(who, 0) + 1

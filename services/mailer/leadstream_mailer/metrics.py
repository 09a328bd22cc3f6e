"""Every metric name of the mailer."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram

from leadstream_events.entry_ids import entry_order
from leadstream_events.limits import Rate
from leadstream_events.runtime.hooks import series
from leadstream_events.schemas.events import Kind
from leadstream_events.setting_values import OnUnknown
from leadstream_mail.attempt_rules import RETRIES_EXHAUSTED
from leadstream_mail.smtp.breaker import Breaker
from leadstream_mail.smtp.outcome import Accepted, Cause, LeaseLost, Outcome
from leadstream_mail.smtp.pool import SmtpPool

ATTEMPTS = Counter("leadstream_smtp_attempts_total", "SMTP attempts by outcome", ["outcome", "cause"])
SECONDS = Histogram("leadstream_smtp_attempt_seconds", "Time from the first command to the outcome")
UNKNOWN = Counter("leadstream_smtp_cut_off_total", "Mails found cut off after DATA by a worker that died")
WAITING = Gauge("leadstream_mails_waiting", "Mails read and waiting for a token or a connection")
SLOWED = Gauge("leadstream_slowed_domains", "Recipient domains or groups that asked for fewer mails and get fewer")
SLOW_DOWNS = Counter("leadstream_slow_downs_total", "Replies that named rate or reputation and halved a domain's rate")
HELD_BACK = Counter("leadstream_mails_held_back_total", "Times that a mail was put back for the limit of its domain")
PAUSED = Gauge("leadstream_smtp_paused", "1 while the breaker keeps the mailer from the SMTP server", ["cause"])
SENT = Counter("leadstream_mails_sent_total", "Mails that the SMTP server took, settled", ["kind"])
DEFERRED = Counter("leadstream_mails_deferred_total", "Attempts after which a mail waits for another one", ["class"])
FAILED = Counter("leadstream_mails_failed_total", "Mails given up", ["class"])
SKIPPED = Counter("leadstream_mails_skipped_total", "Mails not sent on purpose", ["reason"])
UNKNOWN_OUTCOMES = Counter("leadstream_mails_unknown_total", "Lost answers to DATA, by what follows", ["policy"])
ACCEPTED_AFTER = Histogram(
    "leadstream_post_to_accepted_seconds",
    "From the moment Redis stored the lead to the SMTP server's acceptance of a mail of it",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400),
)
CONNECTIONS = Gauge("leadstream_smtp_connections", "SMTP connections of this process", ["state"])
CONNECTION_LIMIT = Gauge("leadstream_smtp_connections_limit", "Connections that the server is thought to grant")
POOL_WAITING = Gauge("leadstream_smtp_pool_waiting", "Mails with a token that wait for a connection")
RATE_LIMIT = Gauge("leadstream_rate_limit_per_second", "RATE_LIMIT of all workers together; +Inf: off")
KEPT_OUTCOMES = Gauge("leadstream_unsettled_outcomes", "Outcomes kept on this disk that Redis has not taken yet")

# Why a mail is given up: what SMTP says, and what is wrong with the mail before anybody is asked.
CLASSES = (
    *Cause, RETRIES_EXHAUSTED, "poison", "adf", "template", "unsendable_address", "key_missing", "lead_missing",
    "lead_unreadable",
)  # fmt: skip
for counter, known in ((UNKNOWN_OUTCOMES, OnUnknown), (SENT, Kind), (FAILED, CLASSES)):
    for label in known:  # a series that begins at 1 shows Prometheus no increase
        counter.labels(label)

_ACCEPTED = ATTEMPTS.labels("accepted", "")
_shown: list[str | None] = [None]


_BY_TYPE = {
    "EmailDeferred": DEFERRED,
    "EmailFailed": FAILED,
    "EmailSkipped": SKIPPED,
    "EmailOutcomeUnknown": UNKNOWN_OUTCOMES,
}


def count(event_type: str, kind: str, why: str) -> None:
    """Counts an outcome that was stored."""
    if event_type == "EmailSent":
        series(SENT, kind).inc()
    else:
        _BY_TYPE[event_type].labels(why).inc()


def accepted(lead_entry: str, now: datetime) -> None:
    """Notes how long a mail took; server's clock to ours, so never less than nothing."""
    stored_ms = entry_order(lead_entry)[0]
    ACCEPTED_AFTER.observe(max(0.0, now.timestamp() - stored_ms / 1000))


def watch(pool: SmtpPool, rate: Rate | None) -> None:
    """Shows the pool as it is at each scrape, and the limit."""
    CONNECTIONS.labels("open").set_function(lambda: pool.state.open)
    CONNECTIONS.labels("idle").set_function(lambda: pool.state.idle)
    CONNECTION_LIMIT.set_function(lambda: pool.state.limit)
    POOL_WAITING.set_function(lambda: pool.state.waiting)
    RATE_LIMIT.set(float("inf") if rate is None else rate.count * 1000 / rate.period_ms)


def observe(outcome: Outcome, seconds: float, breaker: Breaker) -> None:
    """Counts one attempt."""
    if isinstance(outcome, Accepted):
        _ACCEPTED.inc()
    else:
        cause = "" if isinstance(outcome, LeaseLost) else outcome.failure.cause
        ATTEMPTS.labels(type(outcome).__name__.lower(), cause).inc()
    SECONDS.observe(seconds)
    if breaker.cause != _shown[0]:
        _shown[0] = breaker.cause
        PAUSED.clear()
        if breaker.cause:
            PAUSED.labels(breaker.cause).set(1)

"""Every metric name of the mailer."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from leadstream_mail.smtp.breaker import Breaker
from leadstream_mail.smtp.outcome import Accepted, LeaseLost, Outcome

ATTEMPTS = Counter("leadstream_smtp_attempts_total", "SMTP attempts by outcome", ["outcome", "cause"])
SECONDS = Histogram("leadstream_smtp_attempt_seconds", "Time from the first command to the outcome")
UNKNOWN = Counter("leadstream_smtp_cut_off_total", "Mails found cut off after DATA by a worker that died")
WAITING = Gauge("leadstream_mails_waiting", "Mails read and waiting for a token or a connection")
PAUSED = Gauge("leadstream_smtp_paused", "1 while the breaker keeps the mailer from the SMTP server", ["cause"])


def observe(outcome: Outcome, seconds: float, breaker: Breaker) -> None:
    """Counts one attempt."""
    failure = None if isinstance(outcome, Accepted | LeaseLost) else outcome.failure
    ATTEMPTS.labels(type(outcome).__name__.lower(), failure.cause if failure else "").inc()
    SECONDS.observe(seconds)
    PAUSED.clear()
    if breaker.cause:
        PAUSED.labels(breaker.cause).set(1)

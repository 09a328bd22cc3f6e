"""What is told of a mail's settlement once it has taken effect: counters, and one log line for a mail given up.

It is read from the outcome event that was stored, so that what is counted is what the timeline shows.
"""

from __future__ import annotations

from structlog.stdlib import get_logger

from leadstream_events.effects import Settlement
from leadstream_events.keys import MAILER, OUTCOMES, name_of
from leadstream_events.runtime.hooks import DEAD_LETTERS
from leadstream_mail.telling import Told, told_of
from leadstream_mailer import metrics

logger = get_logger("leadstream.mailer")


def told_by(settlement: Settlement) -> Told | None:
    """The outcome that a settlement stores; None when it stores none."""
    for effect in settlement.effects:
        if effect.command == "XADD" and name_of(effect.key) == OUTCOMES:
            parts = [str(part) for part in effect.args[1:]]
            return told_of(dict(zip(parts[::2], parts[1::2], strict=True)))
    return None


def tell(settlement: Settlement) -> None:
    """Counts the outcome; logs a mail given up by its ids and class, and nobody's name or address."""
    told = told_by(settlement)
    if told is None:
        return
    metrics.count(told.type, told.kind, told.why)
    if told.given_up is not None:
        DEAD_LETTERS.labels(MAILER, told.given_up).inc()
        logger.warning("mail given up", lead=told.lead_id, mail=told.email_id, cause=told.given_up)

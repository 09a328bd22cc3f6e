"""The span of one SMTP attempt, by whoever makes it: ids, numbers and labels, and nothing that a server wrote."""

from __future__ import annotations

from leadstream_events import tracing
from leadstream_events.schemas.events import Kind
from leadstream_events.tracing import Span
from leadstream_mail.smtp.outcome import Accepted, Deferred, LeaseLost, Outcome, Refused, Unknown, Unreachable

BUILT, RECIPIENT_ACCEPTED, CONTENT_RELEASED = "mail built", "recipient accepted", "content released"


def attempt_span(parent: str, *, lead_id: str, email_id: str, kind: Kind, number: int, mode: str) -> Span:
    """Begins it, as a child of what requested the mail. `number` from 1; `mode` as in EmailSent."""
    return tracing.span(
        "mail attempt", "CLIENT", parent, lead_id=lead_id, email_id=email_id, kind=kind.value, attempt=number, mode=mode
    )


def note_outcome(span: Span, outcome: Outcome) -> None:
    """Notes what became of the attempt; whatever was not accepted counts as failed."""
    label = type(outcome).__name__.lower()
    match outcome:
        case Accepted(code=code):
            span.set(outcome=label, smtp_code=code)
        case (
            Deferred(failure=failure)
            | Refused(failure=failure)
            | Unknown(failure=failure)
            | Unreachable(failure=failure)
        ):
            span.set(outcome=label, smtp_code=failure.code, smtp_enhanced=failure.enhanced, smtp_phase=failure.phase)
            span.fail(failure.cause or label)
        case LeaseLost():
            span.set(outcome=label)

"""What a mail that came in says about one mail of ours, for one recipient."""

from __future__ import annotations

from dataclasses import dataclass

from leadstream_events.suppression_rules import ReportClass

__all__ = ["Finding", "ReportClass"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One reported recipient. Nothing in it is invented: what the mail does not say is None.

    `message_id` and `token` (the header `X-Leadstream-Mail`) are those of the original mail; whoever acts on them
    checks the token. `enhanced` is a status of RFC 3463, `feedback_type` one of RFC 5965.
    """

    report_class: ReportClass
    recipient: str | None = None
    message_id: str | None = None
    token: str | None = None
    code: int | None = None
    enhanced: str | None = None
    detail: str = ""
    feedback_type: str | None = None

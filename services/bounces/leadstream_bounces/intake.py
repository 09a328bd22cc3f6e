"""One way in for every mail that may be a report, whichever door it came by.

Read it, ask for proof of the mail that it is about, record it (`leadstream_events.reports`), and keep for a person what
cannot be recorded. When `take` has returned, Redis has the report or the mail; taking it again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from structlog.stdlib import get_logger

from leadstream_bounces import metrics
from leadstream_bounces.kept import keep
from leadstream_bounces.proofs import Incoming, Prover, report_id
from leadstream_events import keys
from leadstream_events.ids import partition_of
from leadstream_events.redis_client import Client
from leadstream_events.reports import Came, Recorded, Report, record
from leadstream_events.settings import Settings
from leadstream_events.suppression_rules import REPORTS, ReportClass
from leadstream_mail.bounces.finding import Finding
from leadstream_mail.bounces.read import read_report
from leadstream_mail.return_path import MailRef

logger = get_logger("leadstream.bounces")

MAX_BYTES = 2 * 1024 * 1024
UNVERIFIED = "unverified"
# Feedback that is no complaint and yet bad news of ours: a virus, or a signature that does not hold (RFC 5965).
FEEDBACK = "feedback"
_FINE = (Came.NEW, Came.REPEATED, Came.TOO_MANY)


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a mail: `results` per finding, and `kept` says why it is kept for a person, or is empty."""

    results: tuple[str, ...]
    kept: str = ""
    suppressed: str = ""
    lead_id: str = ""


@dataclass(frozen=True, slots=True)
class _Result:
    came: str
    recorded: Recorded | None = None
    lead_id: str = ""


class Intake:
    """Takes mails. `clock` is read at the edge."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        secrets: Sequence[bytes],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self._prover = Prover(secrets, settings.return_path)

    async def take(self, mail: Incoming) -> Taken:
        """Records or keeps a mail. Redis errors pass through as they are: the sender has to send it again."""
        findings = await asyncio.to_thread(read_report, mail.raw)
        results = [await self._one(mail, finding) for finding in findings]
        why = _why_kept(results)
        if why:
            await keep(self._client, mail, why, self._clock())
        for result in results:
            metrics.REPORTS.labels(mail.source, result.came).inc()
        lead_id = next((result.lead_id for result in results if result.lead_id), "")
        reason = next((each.recorded.suppressed for each in results if each.recorded and each.recorded.suppressed), "")
        taken = Taken(tuple(result.came for result in results), why, reason, lead_id)
        logger.info("mail taken", source=mail.source, results=taken.results, kept=why, suppressed=reason, lead=lead_id)
        return taken

    async def _one(self, mail: Incoming, finding: Finding) -> _Result:
        if finding.report_class is ReportClass.AUTO_REPLY or finding.feedback_type == "not-spam":
            return _Result(Came.IGNORED.value)
        if finding.report_class not in REPORTS:
            return _Result(finding.report_class.value)
        ref = self._prover.of(mail, finding.token)
        if ref is None:
            return _Result(UNVERIFIED)
        email_id = await self._email_id(ref)
        if email_id is None:
            return _Result(Came.UNKNOWN_MAIL.value)
        report = Report(
            ref.lead_id,
            email_id,
            finding.report_class,
            mail.source,
            report_id(mail),
            self._clock(),
            recipient=finding.recipient,
            code=finding.code,
            enhanced=finding.enhanced,
            detail=finding.detail,
            feedback_type=finding.feedback_type,
        )
        done = await record(self._client, self._settings, report)
        came = FEEDBACK if done.came is Came.IGNORED else done.came.value
        return _Result(came, done, ref.lead_id)

    async def _email_id(self, ref: MailRef) -> str | None:
        """The one mail of the lead whose id starts so."""
        partition = partition_of(ref.lead_id, self._settings.partitions)
        names = [name.decode() for name in await self._client.hkeys(keys.ledger(partition, ref.lead_id))]
        found = [name for name in names if " " not in name and name.replace("-", "").startswith(ref.email_prefix)]
        return found[0] if len(found) == 1 else None


def _why_kept(results: Sequence[_Result]) -> str:
    """Nothing is kept when the mail told of a mail of ours, or of an answering machine; else the first reason is."""
    if not results or any(result.came in (*_FINE, Came.IGNORED) for result in results):
        return "" if results else ReportClass.NOT_A_BOUNCE.value
    return results[0].came

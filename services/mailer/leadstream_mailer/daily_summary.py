"""Sends the operator's daily summary, once a day however many mailers run (see docs/decisions/0015).

Before the content goes out the day is marked, as a mail's ledger row is. A mailer that dies before that leaves the day
to the next one; a mailer that dies after it leaves the day as `unknown`: it is said, and not sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from structlog.stdlib import get_logger

from leadstream_events import keys, refused_rounds
from leadstream_events.daily import Daily, End, Turn, day_due
from leadstream_events.errors import Permanent
from leadstream_events.redis_client import Client
from leadstream_events.runtime.source import monotonic_s
from leadstream_events.settings import Settings
from leadstream_events.summary import gather
from leadstream_mail.smtp.outcome import Accepted, Outcome, Refused, Unknown
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mail.summary_mail import summary_mail
from leadstream_mailer.bounds import care_of
from leadstream_mailer.limiter import Limiter, Token, Wait

logger = get_logger("leadstream.summary")

_LOOK_EVERY_S = 20.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Ended:
    how: End
    why: str = ""


def judge(outcome: Outcome) -> _Ended:
    """What an attempt means for the day. Pure."""
    if isinstance(outcome, Accepted):
        return _Ended(End.DONE)
    failure = getattr(outcome, "failure", None)
    why = " ".join(str(each) for each in (failure.phase, failure.cause, failure.code) if each) if failure else ""
    if isinstance(outcome, Refused):
        return _Ended(End.FAILED, why)
    return _Ended(End.UNKNOWN, why) if isinstance(outcome, Unknown) else _Ended(End.LATER, why)


class DailySummary:
    """Runs beside the consumers of a mailer. `now` is asked for the day that is due."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        pool: SmtpPool,
        owner: str,
        now: Callable[[], datetime] = _utc_now,
        dead_after_s: float | None = None,
    ) -> None:
        self._client, self._settings, self._pool, self._now = client, settings, pool, now
        # Longer than everything that one attempt may take.
        longest_s = 2 * settings.smtp_data_timeout + 4 * settings.smtp_timeout + settings.lease
        self._daily = Daily(client, keys.SUMMARY, owner, dead_after_s or longest_s)
        self._limiter = Limiter(client, care_of(settings))
        self._stopping = asyncio.Event()
        self._over: date | None = None
        self._told, self._attempts = "", 0

    async def run(self) -> None:
        """Looks every few seconds whether a summary is due, until stopped. What it raises is a bug."""
        while not self._stopping.is_set():
            try:
                await self.look()
            except Exception as error:
                refused_rounds.tolerate(error, "the daily summary")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Lets `run` return; an attempt under way ends first."""
        self._stopping.set()

    async def look(self) -> Turn | End | None:
        """Sends what is due if it is this process's turn; None when nothing is due. Redis errors pass through."""
        day = day_due(self._now(), self._settings.summary_at)
        if self._settings.summary_to is None or day == self._over:
            return None
        self._attempts += 1  # each is an owner of its own: what an earlier one still says must not count for this one
        daily = replace(self._daily, owner=f"{self._daily.owner}-{self._attempts}")
        turn = await daily.take(day)
        if turn is Turn.LOST:
            logger.warning("whether the summary went out is not known: its mailer died", day=day.isoformat())
        if turn in (Turn.LOST, Turn.DONE):
            self._over = day
        if turn is not Turn.YOURS:
            return turn
        ended, kept = await self._send(daily, day, self._settings.summary_to)
        await daily.end(day, ended.how, {"why": ended.why, **(kept if ended.how is End.DONE else {})})
        self._say(day, ended)
        return ended.how

    async def _send(self, daily: Daily, day: date, to: str) -> tuple[_Ended, dict[str, str]]:
        summary, kept = await gather(self._client, self._settings.partitions, self._now())
        try:
            mail = summary_mail(summary, day, mail_from=self._settings.mail_from, to=to, now=self._now())
        except Permanent as error:
            return _Ended(End.FAILED, error.cause), kept
        token = await self._token(mail.envelope_to)
        if token is None:
            return _Ended(End.LATER, "the sending limit is used up"), kept

        async def commit() -> bool:
            return monotonic_s() < token.expires_s and await daily.commit(day)

        try:
            return judge(await self._pool.send(self._settings.mail_from, mail, commit)), kept
        finally:
            await self._limiter.leave(token)

    async def _token(self, address: str) -> Token | None:
        """A token of the sending limit; waits for it if it comes soon."""
        for _ in range(3):
            (answer,) = await self._limiter.take([address], monotonic_s())
            if not isinstance(answer, Wait):
                return answer
            if answer.seconds > _LOOK_EVERY_S:
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(answer.seconds):
                    await self._stopping.wait()
        return None

    def _say(self, day: date, ended: _Ended) -> None:
        if ended.how is End.DONE:
            logger.info("summary sent", day=day.isoformat())
        elif ended.how.value + ended.why != self._told:  # tried again every few seconds, said once
            logger.warning("summary not sent", day=day.isoformat(), how=ended.how.value, why=ended.why)
        self._told = ended.how.value + ended.why
        if ended.how is not End.LATER:
            self._over = day

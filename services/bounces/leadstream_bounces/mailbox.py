"""Fetches reports from a mailbox (IMAP4rev1, RFC 3501): each mail once, and moved out of the way when Redis has it.

A handled mail goes to the folder `leadstream-handled`; what stays in the folder is still to be read, so a process that
dies in between reads it again, which changes nothing. The standard library's client blocks, so it works in a thread.
"""

from __future__ import annotations

import asyncio
import imaplib
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from structlog.stdlib import get_logger

from leadstream_bounces import metrics
from leadstream_bounces.intake import MAX_BYTES, Intake
from leadstream_bounces.proofs import Incoming, addressed_to
from leadstream_events.errors import ConfigurationError
from leadstream_events.listening import Mailbox as Place
from leadstream_events.listening import parse_imap
from leadstream_events.redis_client import classify
from leadstream_events.secret_files import read_secret
from leadstream_events.settings import Settings

logger = get_logger("leadstream.bounces")

HANDLED = "leadstream-handled"
_TIMEOUT_S = 30.0
_BATCH = 100
_TROUBLE = (imaplib.IMAP4.error, OSError, ssl.SSLError)


class MailboxTrouble(Exception):
    """The mailbox cannot be read now: why, without anybody's address."""


def open_mailbox(settings: Settings) -> Mailbox:
    """The mailbox of the settings; nothing is dialed yet. `ConfigurationError` for a password that cannot be read."""
    assert settings.bounces_imap_url is not None  # noqa: S101  -- asked before
    path = settings.bounces_imap_password_file
    if path is None:
        raise ConfigurationError("LEADSTREAM_BOUNCES_IMAP_PASSWORD_FILE: set it to a file that holds the password")
    password = read_secret(path, "LEADSTREAM_BOUNCES_IMAP_PASSWORD_FILE")
    return Mailbox(parse_imap(settings.bounces_imap_url), password)


@dataclass(slots=True)
class Mailbox:
    """One folder, read by blocking calls. A mail is named by its UID, which stays while the session lasts."""

    place: Place
    password: str = field(repr=False)
    _session: imaplib.IMAP4 | None = None

    def uids(self) -> list[str]:
        """Logs in and returns up to 100 mails that are there, the oldest first; raises `MailboxTrouble`."""
        place = self.place
        try:
            if place.tls:
                context = ssl.create_default_context()
                self._session = imaplib.IMAP4_SSL(place.host, place.port, ssl_context=context, timeout=_TIMEOUT_S)
            else:
                self._session = imaplib.IMAP4(place.host, place.port, timeout=_TIMEOUT_S)
            self._session.login(place.user, self.password)
            self._said(self._session.select(f'"{place.folder}"'))
            (found,) = self._said(self._session.uid("SEARCH", "UNDELETED"))
        except _TROUBLE as error:
            raise MailboxTrouble(_why(error)) from None
        return [uid.decode() for uid in (found or b"").split()][:_BATCH]

    def fetch(self, uid: str) -> bytes | None:
        """Returns a mail without marking it as seen, up to the most that is read; None when it is gone."""
        try:
            parts = self._said(self._imap.uid("FETCH", uid, f"(BODY.PEEK[]<0.{MAX_BYTES}>)"))
        except _TROUBLE as error:
            raise MailboxTrouble(_why(error)) from None
        return next((part[1] for part in parts if isinstance(part, tuple)), None)

    def handled(self, uid: str) -> None:
        """Moves a mail to the folder of handled ones (RFC 6851, or by copying it where the server cannot move)."""
        imap = self._imap
        try:
            if "MOVE" in imap.capabilities:
                self._move(uid, "MOVE")
                return
            self._move(uid, "COPY")
            self._said(imap.uid("STORE", uid, "+FLAGS", r"(\Deleted)"))
            if "UIDPLUS" in imap.capabilities:
                self._said(imap.uid("EXPUNGE", uid))
            # Without UIDPLUS it stays as deleted: EXPUNGE would take along what somebody else has marked.
        except _TROUBLE as error:
            raise MailboxTrouble(_why(error)) from None

    def close(self) -> None:
        """Logs out; nothing is expunged."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(*_TROUBLE):
                session.logout()

    @property
    def _imap(self) -> imaplib.IMAP4:
        assert self._session is not None  # noqa: S101  -- after `uids`
        return self._session

    def _move(self, uid: str, how: str) -> None:
        answer = self._imap.uid(how, uid, HANDLED)
        if answer[0] != "OK":  # the folder is not there yet
            self._imap.create(HANDLED)
            self._said(self._imap.uid(how, uid, HANDLED))

    @staticmethod
    def _said(answer: tuple[str, list[Any]]) -> list[Any]:
        if answer[0] != "OK":
            raise imaplib.IMAP4.error(answer[0])
        return answer[1]


def _why(error: BaseException) -> str:
    """Servers quote user names in refusals, so only the response code (RFC 5530) is told."""
    code = re.search(r"\[([A-Z-]{3,40})\]", str(error))
    return f"{type(error).__name__} {code[1]}" if code else type(error).__name__


class MailboxPoller:
    """Empties the mailbox again and again. Mailbox and Redis may be away; both are tried again."""

    def __init__(self, mailbox: Mailbox, intake: Intake, every_s: float) -> None:
        self._mailbox, self._intake, self._every_s = mailbox, intake, every_s
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Polls until `stop`."""
        while not self._stopping.is_set():
            taken = await self.poll()
            if taken < _BATCH:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._every_s)

    def stop(self) -> None:
        """Asks `run` to end after the mail at hand."""
        self._stopping.set()

    async def poll(self) -> int:
        """Takes what is there; returns how many mails were taken. Trouble ends it early and is logged."""
        taken = 0
        try:
            for uid in await asyncio.to_thread(self._mailbox.uids):
                if self._stopping.is_set():
                    break
                taken += await self._one(uid)
        except MailboxTrouble as error:
            logger.warning("the mailbox cannot be read now", why=str(error))
            metrics.REFUSED.labels("imap", "mailbox").inc()
        except Exception as error:
            trouble = classify(error)
            if trouble is None:
                raise
            logger.warning("mails stay in the mailbox", redis=trouble.cause.value)
            metrics.REFUSED.labels("imap", trouble.cause.value).inc()
        finally:
            await asyncio.to_thread(self._mailbox.close)
        return taken

    async def _one(self, uid: str) -> int:
        """Takes one mail; 1 when it was. One that hits a bug stays where it is, and the others are taken."""
        raw = await asyncio.to_thread(self._mailbox.fetch, uid)
        try:
            if raw is not None:
                await self._intake.take(Incoming(raw, addressed_to(raw), "imap"))
        except Exception as error:
            if classify(error) is not None:
                raise
            logger.error("a mail could not be taken", error=type(error).__name__, uid=uid)
            metrics.REFUSED.labels("imap", "error").inc()
            return 0
        await asyncio.to_thread(self._mailbox.handled, uid)
        return 1

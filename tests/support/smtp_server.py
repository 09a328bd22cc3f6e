"""A scripted SMTP server that fails on demand: byte-level, own code, fast enough for load runs.

In a test: `async with SmtpServer(Script(faults=[...])) as server: ... await server.wait_for(1, timeout=5)`.
As a process: `python -m tests.support.smtp_server --port 1025 --control 8025` (see `smtp_control.py`).
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from types import TracebackType
from typing import Any

from tests.support.smtp_script import Fault, Mail, Moment, Reply, Script
from tests.support.smtp_session import Session
from tests.support.waiting import DEADLINE_S

__all__ = ["Fault", "Mail", "Moment", "Reply", "Script", "SmtpServer"]


class SmtpServer:
    """Listens on 127.0.0.1, on a free port by default. Everything it saw is in its public attributes."""

    def __init__(self, script: Script | None = None, port: int = 0, host: str = "127.0.0.1") -> None:
        self.script = script or Script()
        self.host, self.port = host, port
        self.mails: list[Mail] = []
        self.message_ids: Counter[str] = Counter()
        self.recipients: Counter[str] = Counter()
        self.wire: list[tuple[int, bytes]] = []
        self.connections = 0
        self.most_open = 0
        self.refused_connections = 0
        self.count = 0
        self.open: set[Session] = set()
        self.first_seen: dict[tuple[str, str], float] = {}
        self._changed = asyncio.Condition()
        self._waiters = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> SmtpServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts to listen; `port` is then the real one."""
        context = self.script.tls if self.script.implicit_tls else None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Session(self), self.host, self.port, ssl=context, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops to listen and drops every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in list(self.open):
            session.abort()

    def drop_all(self) -> None:
        """Drops every open connection without a word."""
        for session in list(self.open):
            session.abort()

    def time_out_all(self) -> None:
        """Closes every open connection as `Script.idle_421_s` does, but now: no stall of the machine comes first."""
        for session in list(self.open):
            session.time_out()

    def url(self, scheme: str = "smtp", user: str = "", query: str = "") -> str:
        """The SMTP URL of this server."""
        return f"{scheme}://{user + '@' if user else ''}{self.host}:{self.port}{'?' + query if query else ''}"

    async def wait_for(self, count: int, timeout: float = DEADLINE_S) -> None:
        """Returns once `count` mails arrived; TimeoutError otherwise."""
        await self.wait_until(lambda: self.count >= count, timeout)

    async def wait_until(self, done: Any, timeout: float = DEADLINE_S) -> None:
        """Returns once `done()` holds; asked again after every command, mail, connect and disconnect."""
        self._waiters += 1
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(done)
        finally:
            self._waiters -= 1

    def changed(self) -> None:
        """Wakes those that wait."""
        if self._waiters:
            task = asyncio.get_running_loop().create_task(self._notify())
            task.add_done_callback(lambda done: done.exception())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def commands(self, connection: int | None = None) -> list[bytes]:
        """Verbs seen, in order."""
        return [line.split(b" ")[0].upper() for number, line in self.wire if connection in (None, number)]

    def record(self, mail: Mail) -> None:
        """Keeps a mail (without its data where `keep_data` is off) and counts its ids."""
        self.count += 1
        self.message_ids[mail.message_id] += 1
        self.recipients.update(mail.recipients)
        self.mails.append(mail)


def main() -> None:
    """Runs the server as a process of its own until it is stopped."""
    from tests.support.smtp_control import serve

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control", type=int, default=0)
    parser.add_argument("--keep-data", action="store_true", help="keep whole mails, not only ids and counts")
    options = parser.parse_args()
    script = Script(keep_data=options.keep_data)
    import uvloop

    uvloop.run(serve(SmtpServer(script, options.port), options.control))


if __name__ == "__main__":
    main()

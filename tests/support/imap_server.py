"""A small IMAP4rev1 server (RFC 3501) on a real socket: one user, folders in memory, what a fetcher of mails needs.

Knows CAPABILITY, NOOP, LOGIN, SELECT, CREATE, LOGOUT and UID with SEARCH, FETCH, STORE, COPY, MOVE (RFC 6851) and
EXPUNGE (RFC 4315). UIDs rise and are never used again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

_PARTIAL = re.compile(r"<0\.(\d+)>")


@dataclass(slots=True)
class Stored:
    """A mail in a folder."""

    raw: bytes
    flags: set[str] = field(default_factory=set)


class Refused(Exception):
    """NO with this text."""


class ImapServer:
    """Use it in an `async with` block. `folders`: name to UID to mail; `commands` are those that came in."""

    def __init__(self, *, capabilities: Sequence[str] = ("MOVE", "UIDPLUS"), password: str = "secret") -> None:
        self.capabilities, self.password = tuple(capabilities), password
        self.folders: dict[str, dict[int, Stored]] = {"INBOX": {}}
        self.commands: list[str] = []
        self._next_uid = 1
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> ImapServer:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def put(self, raw: bytes, folder: str = "INBOX") -> int:
        """Delivers a mail; returns its UID."""
        uid, self._next_uid = self._next_uid, self._next_uid + 1
        self.folders[folder][uid] = Stored(raw)
        return uid

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(self)
        writer.write(b"* OK ready\r\n")
        try:
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                tag, _, command = line.partition(" ")
                self.commands.append(command if not command.startswith("LOGIN") else "LOGIN")
                lines, end = session.answer(command)
                writer.write(b"".join(lines) + f"{tag} {end}\r\n".encode())
                await writer.drain()
                if command == "LOGOUT":
                    break
        except ConnectionError:
            pass
        finally:
            writer.close()


class _Session:
    def __init__(self, server: ImapServer) -> None:
        self._server = server
        self._in, self._folder = False, ""

    def answer(self, command: str) -> tuple[list[bytes], str]:
        """Untagged lines and the end of the tagged one."""
        words = command.split(" ")
        name = words[1].upper() if words[0].upper() == "UID" else words[0].upper()
        handle = getattr(self, f"_{name.lower()}", None)
        if handle is None:
            return [], "BAD unknown command"
        if not self._in and name not in ("CAPABILITY", "LOGIN", "LOGOUT"):
            return [], "NO log in first"
        try:
            lines: list[bytes] = handle(words[2:] if words[0].upper() == "UID" else words[1:])
        except Refused as refused:
            return [], f"NO {refused}"
        return lines, "OK done"

    def _capability(self, words: list[str]) -> list[bytes]:
        return [f"* CAPABILITY IMAP4rev1 {' '.join(self._server.capabilities)}\r\n".encode()]

    def _noop(self, words: list[str]) -> list[bytes]:
        return []

    def _logout(self, words: list[str]) -> list[bytes]:
        return [b"* BYE\r\n"]

    def _login(self, words: list[str]) -> list[bytes]:
        if words[-1].strip('"') != self._server.password:
            raise Refused(f"[AUTHENTICATIONFAILED] no such user {words[0]}")
        self._in = True
        return []

    def _select(self, words: list[str]) -> list[bytes]:
        name = words[0].strip('"')
        if name not in self._server.folders:
            raise Refused("[NONEXISTENT] no such folder")
        self._folder = name
        return [f"* {len(self._mails)} EXISTS\r\n".encode()]

    def _create(self, words: list[str]) -> list[bytes]:
        self._server.folders.setdefault(words[0].strip('"'), {})
        return []

    @property
    def _mails(self) -> dict[int, Stored]:
        return self._server.folders[self._folder]

    def _search(self, words: list[str]) -> list[bytes]:
        found = [str(uid) for uid, mail in sorted(self._mails.items()) if r"\Deleted" not in mail.flags]
        return [f"* SEARCH {' '.join(found)}".rstrip().encode() + b"\r\n"]

    def _fetch(self, words: list[str]) -> list[bytes]:
        uid = int(words[0])
        mail = self._mails.get(uid)
        if mail is None:
            return []
        limit = _PARTIAL.search(words[1])
        raw = mail.raw[: int(limit[1])] if limit else mail.raw
        return [f"* 1 FETCH (UID {uid} BODY[]<0> {{{len(raw)}}}\r\n".encode(), raw, b")\r\n"]

    def _store(self, words: list[str]) -> list[bytes]:
        self._mails[int(words[0])].flags.add(words[2].strip("()"))
        return []

    def _copy(self, words: list[str]) -> list[bytes]:
        name = words[1].strip('"')
        if name not in self._server.folders:
            raise Refused("[TRYCREATE] no such folder")
        self._server.put(self._mails[int(words[0])].raw, name)
        return []

    def _move(self, words: list[str]) -> list[bytes]:
        if "MOVE" not in self._server.capabilities:
            raise Refused("cannot move")
        self._copy(words)
        del self._mails[int(words[0])]
        return []

    def _expunge(self, words: list[str]) -> list[bytes]:
        uid = int(words[0])
        if r"\Deleted" in self._mails[uid].flags:
            del self._mails[uid]
        return []

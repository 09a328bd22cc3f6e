"""Lets other processes look into an inbox: GET /counts, /mails?limit=N, /mails/NUMBER (the mail as it came).

Loopback only, reading only, one request per connection; answers to no browser page (`Host` must be the loopback).
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict
from urllib.parse import parse_qs, urlsplit

from leadstream_cli.inbox import Inbox

_MAX_HEAD = 16_384
_PATIENCE_S = 10.0
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


async def listen_http(inbox: Inbox, port: int = 0) -> asyncio.Server:
    """Starts to listen on 127.0.0.1; `port` 0 takes a free one."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                status, kind, body = answer(inbox, await reader.readuntil(b"\r\n\r\n"))
                head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
                writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
                await writer.drain()
        writer.close()

    return await asyncio.start_server(client, "127.0.0.1", port, limit=_MAX_HEAD)


def answer(inbox: Inbox, head: bytes) -> tuple[str, str, bytes]:
    """Returns status, content type and body for a request head."""
    lines = head.decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    host = next((line[5:].strip() for line in lines[1:] if line[:5].lower() == "host:"), "")
    if method != "GET" or (host.rpartition(":")[0] not in _LOCAL and host not in _LOCAL):
        return _json("405 Method Not Allowed" if method != "GET" else "403 Forbidden", {"title": "GET from here only"})
    target = urlsplit(rest.rpartition(" ")[0])
    if target.path == "/counts":
        return _json("200 OK", asdict(inbox.counts()))
    if target.path == "/mails":
        limit = parse_qs(target.query).get("limit", ["50"])[0]
        count = int(limit) if limit.isdigit() else 50
        return _json("200 OK", [asdict(mail) for mail in inbox.mails[-count:]] if count else [])
    number = target.path.removeprefix("/mails/")
    raw = inbox.raw(int(number)) if number.isdigit() else None
    if raw is None:
        return _json("404 Not Found", {"title": "no such mail, or no longer kept"})
    return "200 OK", "message/rfc822", raw


def _json(status: str, value: object) -> tuple[str, str, bytes]:
    return status, "application/json", json.dumps(value, default=str).encode()

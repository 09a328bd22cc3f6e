"""A very small HTTP/1.1 server for a service's own figures and health: GET and HEAD of a few fixed paths, no more.

One request per connection, 8 KiB of head and five seconds at most, so that whoever asks cannot hold a worker up.
It asks nobody who he is, and what it answers holds no personal data.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from structlog.stdlib import get_logger

from leadstream_events.errors import ConfigurationError
from leadstream_events.listening import parse_host_port

MAX_HEAD_BYTES = 8_192
WITHIN_S = 5.0

logger = get_logger("leadstream.metrics")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers."""

    body: bytes
    content_type: str
    status: HTTPStatus = HTTPStatus.OK

    @classmethod
    def of_json(cls, value: object, status: HTTPStatus = HTTPStatus.OK) -> Answer:
        """A JSON document."""
        return cls(json.dumps(value).encode() + b"\n", "application/json", status)


Paths = Mapping[str, Callable[[], Awaitable[Answer]]]


@contextlib.asynccontextmanager
async def answering(listen: str, paths: Paths) -> AsyncIterator[None]:
    """Answers on `host:port` inside the block. An address that cannot be had is logged, and nothing answers."""
    place = parse_host_port(listen)
    if place is None:
        raise ConfigurationError(f"LEADSTREAM_METRICS_LISTEN: {listen} is no address")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(WITHIN_S):
                await _one(reader, writer, paths)
        writer.close()

    try:
        server = await asyncio.start_server(serve, *place, limit=MAX_HEAD_BYTES)
    except OSError as error:
        logger.warning(
            "no metrics: LEADSTREAM_METRICS_LISTEN cannot be had; give each process an address of its own",
            at=listen,
            error=error.strerror or type(error).__name__,
        )
        yield
        return
    host, port = server.sockets[0].getsockname()[:2]
    logger.info("metrics", at=f"{f'[{host}]' if ':' in host else host}:{port}")
    try:
        yield
    finally:
        server.close()


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, paths: Paths) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        answer, method = _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), "GET"
    else:
        method, answer = await _answer(head, paths)
    allow = "Allow: GET, HEAD\r\n" if answer.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    writer.write(
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
    )
    if method != "HEAD":
        writer.write(answer.body)
    await writer.drain()


async def _answer(head: bytes, paths: Paths) -> tuple[str, Answer]:
    parts = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return "GET", _refusal(HTTPStatus.BAD_REQUEST)
    method, make = parts[0], paths.get(parts[1].partition("?")[0])
    if make is None:
        return method, _refusal(HTTPStatus.NOT_FOUND)
    if method not in ("GET", "HEAD"):
        return method, _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    return method, await make()


def _refusal(status: HTTPStatus) -> Answer:
    return Answer(status.phrase.encode() + b"\n", "text/plain; charset=utf-8", status)

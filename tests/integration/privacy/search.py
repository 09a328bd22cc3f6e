"""Looks for a person everywhere: in every key of a server, by its type, and in every file of a directory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from leadstream_events.redis_client import Client

PERSON = {
    "full_name": "Quillaborough Zyxwvut",
    "email": "quilla.zyx@personal-mail.example",
    "phone_number": "+1 509 555 0188",
    "address": "77 Quagmire Terrace",
    "metadata": {"note": "call after Zebrahour"},
}
NEEDLES = (b"quillaborough", b"zyxwvut", b"quilla.zyx", b"personal-mail", b"555 0188", b"quagmire", b"zebrahour")


def found_in(data: bytes) -> list[str]:
    """Which of the person's traits are in these bytes."""
    low = data.lower()
    return [needle.decode() for needle in NEEDLES if needle in low]


def _flat(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _flat(list(pair))
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for item in value:
            yield from _flat(item)
    else:
        yield str(value).encode()


async def _value(client: Client, key: bytes) -> Any:
    kind = (await client.type(key)).decode()
    readers = {
        "stream": lambda: client.xrange(key),
        "hash": lambda: client.hgetall(key),
        "zset": lambda: client.zrange(key, 0, -1),
        "set": lambda: client.smembers(key),
        "string": lambda: client.get(key),
        "list": lambda: client.lrange(key, 0, -1),
    }
    return await readers[kind]()


async def in_redis(client: Client) -> list[str]:
    """Key and trait of everything in the server that is about the person."""
    out = []
    async for key in client.scan_iter(count=1000):
        data = b"\n".join(_flat([key, await _value(client, key)]))
        out += [f"{key.decode()}: {trait}" for trait in found_in(data)]
    return out


def in_files(directory: Path) -> list[str]:
    """File and trait of everything under a directory that is about the person."""
    out = []
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            out += [f"{path.relative_to(directory)}: {trait}" for trait in found_in(path.read_bytes())]
    return out

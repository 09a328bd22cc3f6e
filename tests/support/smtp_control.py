"""A small HTTP port through which tests and load runs steer a fault server in another process.

GET /stats, GET /messages (id, recipients, arrival), GET /wait?count=N&timeout=S, POST /script with JSON such as
`{"greylist_s": 2, "faults": [{"phase": "rcpt", "code": 550, "text": "5.1.1 no", "argument": "s2@", "times": null}]}`,
POST /drop (all connections), POST /reset (what was seen).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.smtp_script import Fault, Reply, Script
from tests.support.smtp_server import SmtpServer

_FAULT_KEYS = ("phase", "times", "connection", "mail")
_SETTABLE = ("extensions", "idle_421_s", "close_after_mails", "max_connections", "greylist_s", "keep_data", "users")


async def serve(server: SmtpServer, control_port: int) -> None:
    """Runs until cancelled. Prints one JSON line with both ports once both listen."""
    await server.start()
    control = await asyncio.start_server(
        lambda reader, writer: _client(server, reader, writer), "127.0.0.1", control_port
    )
    ports = {"smtp": server.port, "control": control.sockets[0].getsockname()[1]}
    print(json.dumps(ports), flush=True)
    await control.serve_forever()


async def _client(server: SmtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        status, answer = await _respond(server, method, target, body)
        data = json.dumps(answer).encode()
        start = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n"
        writer.write(start.encode() + b"connection: close\r\n\r\n" + data)
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _respond(server: SmtpServer, method: str, target: str, body: bytes) -> tuple[int, Any]:
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    match method, parts.path:
        case "GET", "/stats":
            return 200, _stats(server)
        case "GET", "/messages":
            mails = [
                {
                    "id": m.message_id,
                    "from": m.mail_from,
                    "to": m.recipients,
                    "at": m.wall_s,
                    "connection": m.connection,
                }
                for m in server.mails
            ]
            return 200, mails
        case "GET", "/wait":
            try:
                await server.wait_for(int(query["count"]), float(query.get("timeout", "30")))
            except TimeoutError:
                return 408, _stats(server)
            return 200, _stats(server)
        case "POST", "/script":
            _change(server.script, json.loads(body))
            return 200, {name: str(value) for name, value in asdict(server.script).items() if name != "tls"}
        case "POST", "/drop":
            server.drop_all()
            return 200, {}
        case "POST", "/reset":
            server.first_seen.clear()
            server.mails.clear()
            server.wire.clear()
            server.message_ids.clear()
            server.recipients.clear()
            server.count = 0
            return 200, {}
    return 404, {"error": "no such path"}


def _stats(server: SmtpServer) -> dict[str, Any]:
    return {
        "mails": server.count,
        "distinct": len(server.message_ids),
        "duplicates": sum(count - 1 for count in server.message_ids.values()),
        "recipients": len(server.recipients),
        "connections": server.connections,
        "most_open": server.most_open,
        "refused_connections": server.refused_connections,
    }


def _change(script: Script, wanted: dict[str, Any]) -> None:
    for name in _SETTABLE:
        if name in wanted:
            setattr(script, name, tuple(wanted[name]) if name == "extensions" else wanted[name])
    if "faults" in wanted:
        script.faults = [_fault(item) for item in wanted["faults"]]


def _fault(item: dict[str, Any]) -> Fault:
    own = {name: item[name] for name in _FAULT_KEYS if name in item}
    reply = {name: value for name, value in item.items() if name not in (*_FAULT_KEYS, "argument")}
    return Fault(reply=Reply(**reply), argument=item.get("argument", "").encode(), **own)

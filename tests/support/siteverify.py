"""A local server that answers as Cloudflare's siteverify does, over real sockets.

The token says what happens: `good…` passes once (again under the same idempotency key), `hang` is never answered,
`drip` is answered byte by byte without end, `break` cuts the connection, `status…` answers that status, `page` answers
what is no JSON, `endless` never stops; every other one is not valid.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

SECRET = "turnstile-secret-of-a-test"


class Siteverify:
    """What was asked, and who used which token."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.url = ""
        self.closing = threading.Event()
        self._used: dict[str, str] = {}
        self._lock = threading.Lock()

    def answer(self, form: dict[str, str]) -> tuple[int, bytes]:
        """Status and body."""
        token = form.get("response", "")
        if form.get("secret") != SECRET:
            return 200, _says("invalid-input-secret")
        if token.startswith("status"):
            return int(token.removeprefix("status")), _says("internal-error")
        if token == "page":
            return 200, b"<html>down for maintenance"
        if not token.startswith("good"):
            return 200, _says("invalid-input-response")
        with self._lock:
            first = self._used.setdefault(token, form["idempotency_key"])
        return 200, _says(*(() if first == form["idempotency_key"] else ("timeout-or-duplicate",)))


def _says(*codes: str) -> bytes:
    return json.dumps({"success": not codes, "error-codes": list(codes), "hostname": "www.example.com"}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    there: Siteverify

    def do_POST(self) -> None:
        there = self.there
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[-1] for name, values in parse_qs(body).items()}
        there.asked.append(form)
        match form.get("response"):
            case "hang":
                there.closing.wait()
                self.close_connection = True
            case "break":
                self.close_connection = True
            case "drip" | "endless" as how:
                self._go_on(b" " if how == "drip" else b" " * 65_536, 0.05 if how == "drip" else 0.0)
            case _:
                self._send(*there.answer(form))

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", self.there.url)
        self.end_headers()
        self.wfile.write(body)

    def _go_on(self, piece: bytes, pause_s: float) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            while not self.there.closing.wait(pause_s):
                self.wfile.write(piece)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # five would refuse some of many that ask at once


@contextmanager
def siteverify() -> Iterator[Siteverify]:
    """Serves on a free port of this machine."""
    there = Siteverify()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"there": there}))
    there.url = f"http://127.0.0.1:{server.server_port}/turnstile/v0/siteverify"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield there
    finally:
        there.closing.set()
        server.shutdown()
        serving.join()
        server.server_close()

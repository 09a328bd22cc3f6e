"""Speaks to the API over one kept connection, with the standard library alone.

Nothing is repeated by itself: whoever submits a lead again does it with an idempotency key. Proxies of the environment
are not used.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from leadstream_events.errors import ConfigurationError, LeadstreamError

_TIMEOUT_S = 30.0


class ApiUnreachable(LeadstreamError):
    """The API did not answer; whether a request took effect is unknown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and what came with it; `body` is parsed JSON, or the text."""

    status: int
    body: Any

    @property
    def ok(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300

    @property
    def problem(self) -> str:
        """An RFC 9457 problem on one line: what is wrong with which field."""
        if not isinstance(self.body, Mapping):
            return f"{self.status}: {str(self.body)[:200]}"
        fields = [
            f"{item.get('field') or item.get('pointer') or item.get('name') or '?'}: "
            f"{item.get('message') or item.get('detail') or item.get('reason') or ''}"
            for item in self.body.get("errors") or ()
            if isinstance(item, Mapping)
        ]
        title = self.body.get("detail") or self.body.get("title") or "refused"
        return f"{self.status} {'; '.join(fields) or title}"


class ApiClient:
    """A connection to the API at `url`. Use as a context manager; not for several threads at once."""

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = _TIMEOUT_S) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise ConfigurationError(f"{url} is not a URL such as http://127.0.0.1:8000 (--url, LEADSTREAM_PUBLIC_URL)")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, port, timeout=timeout_s)
        self._base = parts.path.rstrip("/")
        self._url = url
        self._headers = {"accept": "application/json", "user-agent": "leadstream-cli"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; `ApiUnreachable` when there is no answer."""
        try:
            self._connection.request(method, self._base + path, body, {**self._headers, **(headers or {})})
            response = self._connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ApiUnreachable(
                f"the API at {self._url} does not answer ({reason}): start it (leadstream up), or give --url"
            ) from None
        try:
            return Answer(response.status, json.loads(raw))
        except ValueError:
            return Answer(response.status, raw.decode("utf-8", "replace"))

    def submit(self, lead: bytes, idempotency_key: str | None = None, *, xml: bool = False) -> Answer:
        """POST /leads with one body as it is: JSON, or with `xml` an ADF document."""
        extra = {"content-type": "application/x-adf+xml" if xml else "application/json"}
        if idempotency_key:
            extra["idempotency-key"] = idempotency_key
        return self.request("POST", "/leads", lead, extra)

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

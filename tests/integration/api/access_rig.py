"""A keys file that a test changes while the API runs, and browsers that log in with its keys."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from leadstream_api.access.keyfile import change_keys
from leadstream_api.access.keys import Key, digest, make_key, new_secret
from leadstream_events.settings import Settings
from leadstream_events.subscribers import utc_now
from tests.integration.api.conftest import api_client

SITE = "https://www.example.com"


class Keys:
    """The keys file of one API."""

    def __init__(self, path: Path) -> None:
        self.path = path
        change_keys(path, lambda old: old)

    def add(self, name: str, *scopes: str, **more: Any) -> str:
        """Returns the secret of a new key."""
        secret = new_secret(publishable="origins" in more)
        plain: Mapping[str, Any] = {"name": name, "sha256": digest(secret), "scopes": scopes, "created": utc_now()}
        change_keys(self.path, lambda old: (*old, make_key({**plain, **more})))
        return secret

    def change(self, secret: str, **values: Any) -> None:
        """Changes a key in its place."""

        def change(old: tuple[Key, ...]) -> tuple[Key, ...]:
            return tuple(k.model_copy(update=values) if k.sha256 == digest(secret) else k for k in old)

        change_keys(self.path, change)

    def settings(self, settings: Settings, **more: Any) -> Settings:
        """The settings with this file."""
        return settings.model_copy(update={"api_keys_file": self.path, **more})


def bearer(secret: str) -> dict[str, str]:
    """The usual way to send a key."""
    return {"Authorization": f"Bearer {secret}"}


@asynccontextmanager
async def guarded(settings: Settings, keys: Keys, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The API with keys."""
    async with api_client(keys.settings(settings, **more)) as api:
        yield api


async def log_in(api: httpx.AsyncClient, secret: str) -> httpx.Response:
    """What a browser does with the login form; the client keeps the cookie."""
    return await api.post("/login", data={"key": secret, "next": "/streams"}, headers={"Origin": "http://localhost"})


def problem(answer: httpx.Response) -> str:
    """The kind of a problem+json answer."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = re.fullmatch(r"urn:leadstream:problem:([a-z-]+)", answer.json()["type"])
    assert found
    return found[1]

"""A mail is built once for its recipients, who follow each other, and few mails are kept."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from leadstream_events.schemas.events import Kind
from leadstream_mailer import content
from leadstream_mailer.content import Contents


def test_a_mail_is_built_once_for_its_recipients_and_again_long_after(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    async def read(_: Contents, place: content.Place) -> Any:
        return SimpleNamespace(subject=place[1], time=None)

    monkeypatch.setattr(Contents, "_lead", read)
    monkeypatch.setattr(content, "_lead_in", lambda _: None)
    builder = SimpleNamespace(build=lambda kind, lead_id, *_: built.append(lead_id))
    contents = Contents(None, cast("Any", builder), cast("Any", None))

    async def mails_of(*leads: int) -> None:
        for lead in leads:
            for _ in range(6):
                await contents.of((0, str(lead), "1-1"), Kind.NOTIFICATION)

    asyncio.run(mails_of(*range(100)))
    assert built == [str(lead) for lead in range(100)]
    asyncio.run(mails_of(99, 50, 0))
    assert built[100:] == ["0"]

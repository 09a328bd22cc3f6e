"""A mailer that a limit of all mails holds back is not stalled."""

from __future__ import annotations

import pytest

from leadstream_events.limits import parse_rate
from leadstream_events.runtime.source import monotonic_s
from leadstream_events.settings import Settings
from leadstream_mailer.sender import Sender
from tests.cases.pipeline import pipeline
from tests.support.waiting import eventually


async def test_the_limit_says_until_when_it_holds_mails_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    senders: list[Sender] = []
    take = Sender.take

    def noted(self: Sender, deliveries: object) -> None:
        senders.append(self)
        take(self, deliveries)  # type: ignore[arg-type]

    monkeypatch.setattr(Sender, "take", noted)
    async with pipeline(settings.model_copy(update={"rate_limit": parse_rate("1/h")})) as house:
        await house.subscribers(1)
        await house.lead()
        await house.smtp.wait_for(1, 60)

        async def held() -> bool:
            return senders[0].held_until_s > monotonic_s() + 10

        await eventually(held, "the second mail to be held back")
        assert not senders[0].consumer.stalled

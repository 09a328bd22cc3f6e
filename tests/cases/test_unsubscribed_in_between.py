"""Case 128: whoever unsubscribes while mails wait gets none of them, and his purchased leads are his again."""

from __future__ import annotations

from leadstream_events.limits import Rate
from leadstream_events.schemas.events import EmailSkipped
from leadstream_events.settings import Settings
from leadstream_events.signing import signing_secrets
from leadstream_events.unsubscribe_rules import Wish
from leadstream_mail import unsubscribe
from tests.cases.pipeline import pipeline
from tests.support.waiting import eventually


async def test_mails_that_wait_for_whoever_unsubscribes_are_skipped_and_give_their_lead_back(
    settings: Settings,
) -> None:
    limited = settings.model_copy(update={"welcome": False, "rate_limit": Rate(2, 4_000)})
    async with pipeline(limited) as house:
        ids = {
            f"s{number}@example.com": await house.subscriber(f"s{number}@example.com", leads_purchased=5)
            for number in range(1, 7)
        }
        await house.lead()
        await house.smtp.wait_for(2)
        stopped, paused = [address for address in ids if not house.to(address)][-2:]
        secrets = await signing_secrets(house.client, limited)
        for address, form in (
            (stopped, {"List-Unsubscribe": "One-Click"}),
            (paused, {"wish": Wish.PAUSE.value, "days": "30"}),
        ):
            answer = await house.api.post(unsubscribe.PATH + unsubscribe.token_of(secrets, ids[address]), data=form)
            assert answer.status_code in (200, 303), answer.text
        await house.settled()
        assert house.smtp.count == 4 and not house.to(stopped) and not house.to(paused)
        skipped = [outcome for outcome in await house.outcomes() if isinstance(outcome, EmailSkipped)]
        assert {(str(outcome.subscriber_id), outcome.reason) for outcome in skipped} == {
            (ids[address], "unsubscribed") for address in (stopped, paused)
        }

        async def given_back() -> bool:
            items = (await house.api.get("/subscribers")).json()["items"]
            return {item["email"]: (item["leads_sent"], item["leads_remaining"]) for item in items} == {
                address: (0, 5) if address in (stopped, paused) else (1, 4) for address in ids
            }

        await eventually(given_back, "the purchased leads of skipped mails to be given back")

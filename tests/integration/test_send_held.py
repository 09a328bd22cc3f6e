"""Release an address and send what was skipped meanwhile: through the API, over the whole pipeline."""

from __future__ import annotations

from leadstream_events.settings import Settings
from tests.cases.pipeline import pipeline

ADDRESS = "s1@example.com"


async def test_a_released_subscriber_gets_what_was_held_back_once_and_his_purchased_lead_counts_once(
    settings: Settings,
) -> None:
    async with pipeline(settings.model_copy(update={"welcome": False})) as house:
        await house.subscriber(ADDRESS, leads_purchased=1)
        (await house.api.post("/suppressions", json={"address": ADDRESS})).raise_for_status()
        await house.lead()
        await house.settled()
        assert house.smtp.count == 0
        (item,) = (await house.api.get("/subscribers")).json()["items"]
        assert (item["suppressed"], item["leads_sent"]) == ("manual", 0)
        refused = (await house.api.post("/suppressions/send-held", json={"address": ADDRESS})).json()
        assert refused == {"held": 1, "requested": 0, "refused": {"suppressed": 1}}
        assert (await house.api.delete(f"/suppressions/{ADDRESS}")).status_code == 204
        counted = await house.api.post("/suppressions/send-held", json={"address": ADDRESS, "dry_run": True})
        assert counted.json() == {"held": 1, "requested": 0, "refused": {}}
        for expected in (1, 0):
            answer = (await house.api.post("/suppressions/send-held", json={"address": ADDRESS})).json()
            assert (answer["held"], answer["requested"]) == (1, expected)
        await house.smtp.wait_for(1)
        await house.settled()
        assert house.smtp.count == 1
        (item,) = (await house.api.get("/subscribers")).json()["items"]
        assert item["leads_sent"] == 1


async def test_nobody_elses_address_is_sent_anything(settings: Settings) -> None:
    async with pipeline(settings) as house:
        answer = await house.api.post("/suppressions/send-held", json={"address": "nobody@example.com"})
        assert (answer.status_code, house.smtp.count) == (404, 0)

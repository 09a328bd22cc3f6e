"""The page behind the link in a mail, in a real browser and without script: nothing happens before a click."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect

from leadstream_events.redis_client import connect
from leadstream_events.settings import load_settings
from leadstream_events.signing import signing_secrets
from leadstream_mail import unsubscribe
from tests.support.house import House
from tests.support.waiting import DEADLINE_S

if TYPE_CHECKING:
    from playwright.sync_api import Page

ADDRESS = "buyer@a-rather-long-agency-name.example.org"


@pytest.fixture(scope="module")
def link(house: House) -> str:
    """The link of a subscriber of this house, as his mails have it."""
    answer = httpx.post(
        house.base + "/subscribers", json={"email": ADDRESS, "name": "Pat"}, trust_env=False, timeout=DEADLINE_S
    )

    async def secrets() -> bytes:
        client = connect(house.server.url, timeout_s=10.0)
        try:
            return (await signing_secrets(client, load_settings(redis_url=house.server.url)))[0]
        finally:
            await client.aclose()

    # In a thread of its own: in this one a loop runs as soon as another test of the module has opened the browser.
    with ThreadPoolExecutor(1) as thread:
        secret = thread.submit(asyncio.run, secrets()).result()
    return unsubscribe.link(house.base, (secret,), answer.json()["id"])


def suppressed(house: House) -> str | None:
    items = httpx.get(house.base + "/subscribers", trust_env=False, timeout=DEADLINE_S).json()["items"]
    found: str | None = next(item["suppressed"] for item in items if item["email"] == ADDRESS)
    return found


@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_subscriber_pauses_stops_and_comes_back_without_script(
    house: House, link: str, open_page: Callable[..., Page], scheme: str, width: int
) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800}, java_script_enabled=False)
    page.goto(link)
    assert page.get_by_role("heading").inner_text() == "b***@a-rather-long-agency-name.example.org"
    assert suppressed(house) is None, "opening the page changes nothing"
    page.get_by_label("7 days").check()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_contain_text("Paused")
    expect(page).to_have_url(link)
    assert suppressed(house) == "unsubscribed"
    page.get_by_role("button", name="Stop for good").click()
    expect(page.get_by_role("status")).to_contain_text("Stopped.")
    page.reload()
    expect(page.get_by_role("status")).to_contain_text("Stopped.")
    page.get_by_role("button", name="Get lead mails again").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert suppressed(house) is None
    box = page.get_by_role("main").bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width, "nothing is cut off"


def test_a_link_that_is_none_says_so_and_asks_for_no_login(house: House, open_page: Callable[..., Page]) -> None:
    page = open_page()
    with page.expect_console_message(lambda message: "404" in message.text):  # of which every browser complains
        answer = page.goto(house.base + unsubscribe.SAMPLE_PATH)
    assert answer is not None and answer.status == 404
    assert "no such page" in page.get_by_role("main").inner_text()
    open_page.complaints.clear()  # type: ignore[attr-defined]

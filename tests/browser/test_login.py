"""With API keys: who may see the dashboard, and what he may do there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.api.access_rig import Keys
from tests.support.house import House

Open = Callable[..., Page]


@pytest.fixture
def locked(tmp_path: Path, browser: Browser) -> Iterator[tuple[House, Keys]]:
    """A house whose API asks for keys; nothing but the API runs."""
    keys = Keys(tmp_path / "keys.toml")
    keys.add("reader", "read")
    with House(tmp_path / "house", appendfsync="no", LEADSTREAM_API_KEYS_FILE=str(keys.path)) as house:
        house.processes["api"].start()
        yield house, keys


def log_in(page: Page, house: House, key: str, path: str = "/") -> None:
    page.goto(house.base + path)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()


def test_a_wrong_key_is_refused_and_a_good_one_leads_back_to_the_page(
    locked: tuple[House, Keys], open_page: Open
) -> None:
    house, keys = locked
    page = open_page()
    with page.expect_console_message(lambda message: "401" in message.text):  # the browser notes it, when it likes
        log_in(page, house, "ls_wrong", "/ui/streams")
    expect(page.get_by_role("alert")).to_contain_text("no API key that is known")
    page.get_by_label("API key").fill(keys.add("second", "read"))
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(house.base + "/ui/streams")
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(house.base + "/login")  # going on at once could cut the request off
    page.goto(house.base + "/")
    expect(page.get_by_label("API key")).to_be_visible()
    open_page.complaints.clear()  # type: ignore[attr-defined]


def test_a_reader_sees_no_buttons_and_no_personal_data(locked: tuple[House, Keys], open_page: Open) -> None:
    house, keys = locked
    admin, page = open_page(), open_page()
    log_in(admin, house, keys.add("boss", "admin"), "/ui/subscribers/new")
    admin.get_by_label("Name").fill("Secret Agency")
    admin.get_by_label("E-mail").fill("secret@example.com")
    admin.get_by_role("button", name="Add").click()
    expect(admin.get_by_role("status")).to_have_text("Subscriber added.")
    log_in(page, house, keys.add("third", "read"), "/ui/subscribers")
    expect(page.locator("main")).to_contain_text("s***@example.com")
    expect(page.locator("main")).not_to_contain_text("Secret Agency")
    assert page.get_by_role("main").get_by_role("button").count() == 0
    assert page.request.post(house.base + "/ui/subscribers/new", form={"name": "x"}).status == 403

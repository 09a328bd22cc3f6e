"""A real Chromium over the whole house: server, SMTP server, API, fan-out, mailer and projections as processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.house import House

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

# A page follows the log by way of several processes, and two slow cores are shared with the rest of the tests.
_PATIENCE_MS = 30_000
sync_api.expect.set_options(timeout=_PATIENCE_MS)

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--force-prefers-reduced-motion"),
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where the browser is."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser per module and not per process: while it lives, Playwright keeps a loop running in this thread, in
    which no async test could run."""
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=list(_ARGS))
        yield made
        made.close()


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[House]:
    """Everything running; without a browser it is not even started."""
    folder = tmp_path_factory.mktemp("house")
    # A lead that went to the spool because the machine stalled would have no page yet.
    with House(folder, appendfsync="no", LEADSTREAM_RETRY_DELAYS="300ms", LEADSTREAM_APPEND_DEADLINE="10s") as made:
        yield made.start()


def is_complaint(message: ConsoleMessage) -> bool:
    """An error, but for the icon that browsers look for beside a JSON answer."""
    return message.type == "error" and not message.location["url"].endswith("/favicon.ico")


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page in a profile of its own; whatever the browser complains about fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_one(**options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        return page

    open_one.complaints = complaints  # type: ignore[attr-defined]
    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []

"""What a person does in the browser: watch a lead arrive, mend a dead letter, import subscribers."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.house import House
from tests.support.waiting import eventually_sync

Open = Callable[..., Page]
PAGES = (
    "/",
    "/?bucket=day",
    "/ui/leads",
    "/ui/subscribers",
    "/ui/subscribers/new",
    "/ui/subscribers/import",
    "/ui/dead-letters",
    "/ui/dead-letters/redrive",
    "/ui/suppressions",
    "/ui/previews",
    "/ui/streams",
)
# Of every text on the page: its contrast with the first ground behind it that is not transparent (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const channel = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const read = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (at) => {
    for (; at; at = at.parentElement) {
      const found = read(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] > 0.99) return found;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const at = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !at.checkVisibility() || at.closest("svg, .vh, .skip")) continue;
    const [a, b] = [light(read(getComputedStyle(at).color)), light(ground(at))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${at.className}: ${at.textContent.trim().slice(0, 40)}`);
  }
  return low;
}"""


def call(house: House, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        house.base + path,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return json.loads(answer.read() or b"null")


@pytest.fixture
def lead_form(house: House) -> Iterator[str]:
    """A page of another site on this machine, with a form that posts leads."""
    html = (
        f'<!doctype html><title>Quote</title><form method="post" action="{house.base}/leads">'
        '<input name="full_name" aria-label="Name"><input name="email" aria-label="E-mail">'
        '<input name="state" aria-label="State"><button>Get a quote</button></form>'
    ).encode()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 204)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html if self.path == "/" else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_a_lead_posted_from_a_form_appears_on_the_open_overview_by_itself(
    house: House, open_page: Open, lead_form: str
) -> None:
    overview, site = open_page(), open_page()
    overview.goto(house.base)
    expect(overview.locator("#live")).to_have_text("Live")
    site.goto(lead_form)
    site.get_by_label("Name").fill("Wanda Watched")
    site.get_by_label("E-mail").fill("wanda@example.com")
    site.get_by_role("button").click()
    expect(site.locator("body")).to_contain_text("lead_id")
    row = overview.locator("[data-live=latest] li", has_text="Wanda Watched")
    expect(row).to_be_visible()
    expect(row.locator(".state.sent")).to_be_visible()


def test_a_dead_letter_is_found_by_cause_its_address_corrected_redriven_and_sent(house: House, open_page: Open) -> None:
    fault = {"phase": "rcpt", "code": 550, "text": "5.1.1 no such user", "argument": "typo@", "times": None}
    house.inbox.post("/script", {"faults": [fault]})
    who = call(
        house, "POST", "/subscribers", {"email": "typo@redrive.example.com", "name": "Redriven", "states": ["WY"]}
    )
    lead = call(house, "POST", "/leads", {"full_name": "Dora Dead", "email": "dora@example.com", "state": "WY"})
    page = open_page()

    page.goto(house.base + "/ui/dead-letters")
    cause = page.locator("[data-live=causes]").get_by_role("link", name="smtp_550")
    expect(cause).to_be_visible()  # it comes by itself: the page is live
    cause.click()
    expect(page.locator("[data-live=letters]")).to_contain_text("5.1.1")
    page.get_by_role("link", name="Redriven").first.click()
    page.get_by_label("E-mail").fill("right@redrive.example.com")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("Changes saved.")

    page.goto(house.base + "/ui/dead-letters/redrive?cause=smtp_550")
    expect(page.locator("main")).to_contain_text("1 letter")
    page.get_by_label("Reason").fill("address corrected")
    page.get_by_role("button", name="Redrive 1").click()
    expect(page.get_by_role("status")).to_have_text("Redriven: 1. Left alone: 0.")

    page.goto(house.base + "/ui/leads/" + lead["lead_id"])
    mail = page.locator(".mail", has_text="Redriven")
    expect(mail.locator(".state").first).to_have_text("sent")
    expect(mail.locator(".timeline")).to_contain_text("Sent again by a person (dashboard)")
    expect(mail.locator(".timeline")).to_contain_text("address corrected")
    expect(mail.locator(".timeline")).to_contain_text("550")
    house.wait_idle()  # the page shows the ledger, and what was sent is counted later
    sent = [to for each in house.inbox.get("/messages") for to in each["to"]]
    assert sent.count("right@redrive.example.com") == 1
    assert call(house, "GET", f"/subscribers/{who['id']}")["leads_sent"] == 1


def test_a_timeline_that_is_behind_catches_up_on_the_open_page(house: House, open_page: Open) -> None:
    projections, page = house.processes["projections"], open_page()

    def sent() -> bool:
        return "sent" in [mail["state"] for mail in call(house, "GET", f"/leads/{lead}")["mails"]]

    projections.terminate()
    try:
        lead = call(house, "POST", "/leads", {"full_name": "Lena Late", "email": "lena@example.com"})["lead_id"]
        eventually_sync(sent, "a mail to be sent")
        with page.expect_request_finished(lambda request: request.resource_type == "fetch"):
            page.goto(f"{house.base}/ui/leads/{lead}")  # and what the first marks make it ask for
        expect(page.locator("main")).to_contain_text("The timeline is catching up")
    finally:
        projections.start()
    expect(page.locator(".mail", has_text="Welcome").locator(".timeline")).to_contain_text("attempt 1")
    expect(page.locator("main")).not_to_contain_text("The timeline is catching up")


def test_a_letter_can_be_dropped_with_a_reason_and_cannot_without(house: House, open_page: Open) -> None:
    fault = {"phase": "rcpt", "code": 553, "text": "5.1.3 bad", "argument": "drop@", "times": None}
    house.inbox.post("/script", {"faults": [fault]})
    call(house, "POST", "/subscribers", {"email": "drop@example.com", "name": "Dropped", "states": ["VT"]})
    call(house, "POST", "/leads", {"full_name": "Dan Drop", "email": "dan@example.com", "state": "VT"})
    page = open_page()
    page.goto(house.base + "/ui/dead-letters")
    page.locator("[data-live=causes]").get_by_role("link", name="smtp_553").click()
    page.locator("summary", has_text="Drop").click()
    reason = page.locator("details[open] input[name=reason]")
    page.get_by_role("button", name="Drop it").click()
    assert reason.evaluate("at => at.validity.valueMissing")
    reason.fill("a made-up address")
    page.get_by_role("button", name="Drop it").click()
    expect(page.get_by_role("status")).to_contain_text("Dropped")
    expect(page.locator("[data-live=letters]")).to_contain_text("No letter of this cause is open")


def test_subscribers_are_imported_from_csv_with_a_report_of_each_line(house: House, open_page: Open) -> None:
    text = "email,name,states,leads_purchased\nana@import.example.com,Ana Import,AK,5\nnot an address,Bad,,\n"
    page = open_page()
    page.goto(house.base + "/ui/subscribers/import")
    page.get_by_label("CSV file").set_input_files(
        {"name": "subscribers.csv", "mimeType": "text/csv", "buffer": text.encode()}
    )
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("status")).to_contain_text("1 added, 0 changed, 0 unchanged, 1 bad")
    expect(page.get_by_role("row", name=re.compile("^3 bad email"))).to_be_visible()
    page.goto(house.base + "/ui/subscribers?q=ana@import")
    row = page.get_by_role("row", name=re.compile("Ana Import"))
    expect(row).to_contain_text("0 of 5")
    row.get_by_role("button", name="Deactivate").click()
    expect(page.get_by_role("row", name=re.compile("Ana Import"))).to_contain_text("inactive")


def test_every_page_can_be_read_without_javascript(house: House, open_page: Open) -> None:
    page = open_page(java_script_enabled=False)
    for path in PAGES:
        answer = page.goto(house.base + path)
        assert answer is not None
        assert answer.status == 200, path
        expect(page.locator("h1").first).not_to_be_empty()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_the_contrast_of_wcag_aa_and_nothing_overflows_a_phone(
    house: House, open_page: Open, scheme: str
) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": 360, "height": 740})
    for path in PAGES:
        page.goto(house.base + path)
        assert page.evaluate(CONTRASTS) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_the_pages_can_be_used_by_keyboard_with_a_visible_focus(house: House, open_page: Open) -> None:
    page = open_page()
    page.goto(house.base + "/ui/leads")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Name, e-mail or lead id")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_name_with_markup_is_shown_as_text_everywhere(house: House, open_page: Open) -> None:
    name = "<img src=x onerror=alert(1)>"
    lead = call(house, "POST", "/leads", {"full_name": name, "email": "markup@example.com"})
    page = open_page()
    for path in ("/", "/ui/leads", f"/ui/leads/{lead['lead_id']}", f"/ui/previews?lead_id={lead['lead_id']}"):
        page.goto(house.base + path)
        expect(page.get_by_text(name).first).to_be_attached()
        assert page.locator("img").count() == 0

"""Area A of docs/cases.md: what a visitor types reaches the mail as text, or is refused by name."""

from __future__ import annotations

import html
import json
import re

import pytest

from leadstream_events.schemas.events import EmailSkipped, Kind
from leadstream_events.settings import Settings
from tests.cases.pipeline import assert_ordinary, pipeline, subject
from tests.integration.api.conftest import api_client
from tests.unit.mailer.mails import mailbox, parts

FORGED = "A =?UTF-8?Q?=0A?=Bcc: x@example.test"
TEMPLATE = "{{7*7}} {% for x in ().__class__.__base__.__subclasses__() %}{% endfor %} ${7*7} %(name)s {0.__class__}"


def visible(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


def everywhere(text: str, key: str | None = None) -> dict[str, object]:
    """A lead whose every free text holds `text`."""
    return {
        "full_name": text,
        "address": text,
        "city": text[:100].strip(),
        "source": text,
        "vehicles": [{"year": 2021, "make": text[:64].strip(), "model": text[:64].strip()}],
        "consent": {"text": text, "url": text, "ip": text[:100].strip(), "user_agent": text},
        "metadata": {key or text[:64].strip(): text},
    }


@pytest.mark.parametrize("broken", ["Dana\r\nBcc: spy@example.com", "Dana\n"])
async def test_a_refused_lead_blocks_nobody_and_the_next_one_is_mailed(settings: Settings, broken: str) -> None:
    """Cases 001, 002."""
    async with pipeline(settings) as house:
        await house.subscriber()
        refused = await house.api.post("/leads", json={"full_name": broken, "email": "dana@example.com"})
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == ["full_name"]
        await house.lead()
        await house.smtp.wait_for(2)
        assert sorted(mail.recipients for mail in house.smtp.mails) == [("dana@example.com",), ("s1@example.com",)]
        for mail in house.smtp.mails:
            assert_ordinary(mail)


async def test_a_forged_header_in_every_text_field_is_one_mail_to_one_recipient_that_shows_it_literally(
    settings: Settings,
) -> None:
    """Case 003 and its siblings: every field of the lead and the subscriber's name."""
    async with pipeline(settings.model_copy(update={"welcome": False})) as house:
        await house.subscriber(name=FORGED)
        await house.lead(**everywhere(FORGED))
        await house.settled()
        (mail,) = house.smtp.mails
        assert mail.recipients == ("s1@example.com",)
        assert_ordinary(mail)
        head = mail.data.partition(b"\r\n\r\n")[0]
        assert not re.search(rb"(?im)^(bcc|cc)", head)
        assert b"x@example.test" not in head
        assert subject(mail) == f"New lead: {FORGED} ({FORGED})"
        assert mailbox(mail.data, "to") == (FORGED, "s1@example.com")
        assert mailbox(mail.data, "reply-to") == (FORGED, "dana@example.com")
        text, markup = parts(mail.data)
        assert text.count(FORGED) == visible(markup).count(FORGED) == 12


async def test_the_welcome_mail_repeats_nothing_of_a_forged_lead(settings: Settings) -> None:
    """Cases 003, 023."""
    async with pipeline(settings) as house:
        await house.lead(**everywhere(FORGED))
        await house.settled()
        (mail,) = house.smtp.mails
        assert mail.recipients == ("dana@example.com",)
        assert_ordinary(mail)
        assert b"example.test" not in mail.data
        assert all("example.test" not in part for part in parts(mail.data))


async def test_names_outside_ascii_stand_before_the_bare_address(settings: Settings) -> None:
    """Case 009: in To of a subscriber and in Reply-To of the visitor; the welcome mail names no one in To."""
    async with pipeline(settings) as house:
        await house.subscriber(name="刘洋")
        await house.lead(full_name="刘洋")
        await house.settled()
        (notification,), (welcome,) = house.to("s1@example.com"), house.to("dana@example.com")
        assert re.search(rb"(?m)^To: =\?utf-8\?[bq]\?[^?]+\?= <s1@example\.com>\r$", notification.data)
        assert re.search(rb"(?m)^Reply-To: =\?utf-8\?[bq]\?[^?]+\?= <dana@example\.com>\r$", notification.data)
        assert b"\r\nTo: dana@example.com\r\n" in welcome.data


async def test_a_suppression_holds_for_every_spelling_and_leaves_an_event(settings: Settings) -> None:
    """Case 018."""
    async with pipeline(settings) as house:
        await house.subscriber("bob@example.com", "Bob")
        answer = await house.api.post("/suppressions", json={"address": "Bob@Example.com"})
        assert answer.status_code == 201
        await house.lead()
        await house.settled()
        assert house.to("bob@example.com") == []
        skipped = [outcome for outcome in await house.outcomes() if isinstance(outcome, EmailSkipped)]
        assert [(outcome.reason, outcome.kind) for outcome in skipped] == [("suppressed", Kind.NOTIFICATION)]


async def test_a_welcome_mail_to_a_suppressed_address_is_not_sent_in_any_spelling(settings: Settings) -> None:
    """Case 018, its sibling: the visitor's address."""
    async with pipeline(settings) as house:
        await house.api.post("/suppressions", json={"address": "dana@example.com"})
        await house.lead(email="DANA@Example.COM")
        await house.settled()
        assert house.smtp.mails == []
        assert [type(outcome) for outcome in await house.outcomes()] == [EmailSkipped]


LONG = "a" * 5000
FREE_TEXTS = {
    "019 one long line": LONG,
    "058 lines that begin with dots": "hello\n.\nworld\n..x\n.y",
    "059 line breaks of every kind": "a\rb\nc\r\nd\x0be\u2028f\x85g",
    "060 smuggling": (
        "x\n.\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<spy@example.com>\r\nDATA\r\n"
        "From: boss@example.com\r\n\r\nhi\r\n.\r\nend"
    ),
    "060 bare carriage returns": "x\r.\rMAIL FROM:<a@example.com>\rRCPT TO:<spy@example.com>\rend",
}


@pytest.mark.parametrize("text", FREE_TEXTS.values(), ids=FREE_TEXTS.keys())
async def test_free_text_arrives_whole_as_one_mail_even_at_a_lenient_server(settings: Settings, text: str) -> None:
    """Cases 019, 058, 059, 060: in the two places that keep line breaks."""
    script_settings = settings.model_copy(update={"welcome": False})
    async with pipeline(script_settings) as house:
        house.smtp.script.lenient_end = True
        await house.subscriber()
        await house.lead(metadata={"comments": text}, consent={"text": text})
        await house.settled()
        (mail,) = house.smtp.mails
        assert_ordinary(mail)
        lines = [line for line in mail.data.split(b"\r\n") if not line.startswith(b"List-Unsubscribe: <")]  # no fold
        assert max(map(len, lines)) <= 78
        plain = re.sub(r"\r\n|[\r\x0b\u2028\x85]", "\n", text)
        shown, markup = parts(mail.data)
        assert f"comments: {plain}\n" in shown
        assert f"Text: {plain}\n" in shown
        assert plain in visible(markup)
        verbs = house.smtp.commands()
        assert (verbs.count(b"RCPT"), verbs.count(b"DATA")) == (1, 1)


async def test_a_link_as_a_name_is_not_in_the_welcome_mail_and_inert_in_the_notification(settings: Settings) -> None:
    """Case 023."""
    name = "Claim prize at bad.example.test/win"
    async with pipeline(settings) as house:
        await house.subscriber()
        await house.lead(**everywhere(name))
        await house.settled()
        (notification,), (welcome,) = house.to("s1@example.com"), house.to("dana@example.com")
        assert "bad.example" not in subject(welcome)
        assert all("bad.example" not in part for part in parts(welcome.data))
        text, markup = parts(notification.data)
        assert name in text
        assert name in visible(markup)
        assert "bad.example" not in markup
        mailto, ours = map(html.unescape, re.findall(r'href="([^"]*)"', markup))
        assert mailto == "mailto:dana@example.com" and ours.startswith(settings.public_url + "/unsubscribe/")


async def test_template_expressions_in_every_field_stay_text_in_subject_text_and_html(settings: Settings) -> None:
    """Case 024 and its siblings: fields, metadata keys and the subscriber's name."""
    async with pipeline(settings.model_copy(update={"welcome": False})) as house:
        await house.subscriber(name="{{7*7}} ${7*7}")
        await house.lead(**everywhere(TEMPLATE))
        await house.settled()
        (mail,) = house.smtp.mails
        assert_ordinary(mail)
        assert subject(mail) == f"New lead: {TEMPLATE} ({TEMPLATE[:100].strip()})"
        assert mailbox(mail.data, "to")[0] == "{{7*7}} ${7*7}"
        text, markup = parts(mail.data)
        for shown in (text, visible(markup)):
            assert shown.count(TEMPLATE) == 7  # the places that are long enough to hold it whole
            assert "<class" not in shown


async def test_direction_overrides_are_taken_out_and_languages_stay(settings: Settings) -> None:
    """Case 035 in every field."""
    controls = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    async with pipeline(settings.model_copy(update={"welcome": False})) as house:
        await house.subscriber(name="דנה \u202egpj.example")
        await house.lead(**everywhere("Dana \u202egpj דנה ليلى", key="k"))
        await house.settled()
        (mail,) = house.smtp.mails
        shown = "".join((subject(mail), mailbox(mail.data, "to")[0], *parts(mail.data)))
        assert not set(controls) & set(shown)
        assert subject(mail) == "New lead: Dana gpj דנה ليلى (Dana gpj דנה ليلى)"
        assert mailbox(mail.data, "to")[0] == "דנה gpj.example"


async def test_the_address_that_counts_is_the_one_that_is_mailed(settings: Settings) -> None:
    """Case 031: of a repeated key the last value counts for validation, storage and mail."""
    body = b'{"full_name":"a","email":"victim@example.com","email":"dana@example.com"}'
    async with pipeline(settings) as house:
        answer = await house.api.post("/leads", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 202
        await house.settled()
        assert [mail.recipients for mail in house.smtp.mails] == [("dana@example.com",)]


async def test_an_address_at_the_limit_of_254_is_mailed(settings: Settings) -> None:
    """Case 016."""
    address = "x" * 64 + "@" + ".".join(["d" * 61] * 3 + ["com"])
    async with pipeline(settings) as house:
        await house.lead(email=address)
        await house.settled()
        assert [mail.recipients for mail in house.smtp.mails] == [(address,)]
        assert_ordinary(house.smtp.mails[0])


async def test_numbers_at_the_edge_are_shown_as_strict_json(settings: Settings) -> None:
    """Case 030: what is accepted is finite."""

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    body = b'{"full_name":"a","email":"a@example.com","metadata":{"low":-1,"tiny":1e-400,"high":1.7e308}}'
    async with api_client(settings) as api:
        answer = await api.post("/leads", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 202
        shown = json.loads((await api.get(answer.json()["location"])).text, parse_constant=no_constant)
        assert shown["lead"]["metadata"] == {"low": -1, "tiny": 0.0, "high": 1.7e308}

"""Any body under any content type to `POST /leads` and `/leads/batch`.

It is stored and mailable, or refused by a clear 4xx and not stored.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events import keys
from leadstream_events.redis_client import connect
from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.subscriber import MailFormat
from leadstream_events.settings import Settings
from tests.fuzz.depth import depth
from tests.fuzz.texts import LINES, SCALAR, TEXT, lead_values
from tests.integration.api.conftest import api_client
from tests.support.sealed import opened_lead
from tests.unit.mailer.mails import (
    BUILDER,
    FIXED,
    MESSAGE_ID,
    NOW,
    WELCOME_FIXED,
    assert_wire_safe,
    header_names,
    prepared,
)

LEADS = keys.stream(0, keys.LEADS)
JSON, FORM, NDJSON = "application/json", "application/x-www-form-urlencoded", "application/x-ndjson"
REFUSALS = (400, 413, 415, 422)
TYPES = st.sampled_from(
    [
        *(JSON, f"{JSON}; charset=utf-8", f"{JSON}; charset=latin-1", "application/vnd.x+json", FORM, "text/plain"),
        *(
            NDJSON,
            "application/xml",
            "application/x-adf+xml",
            "multipart/form-data",
            "multipart/form-data; boundary=b",
            "",
            "a/b;;=;charset",
        ),
    ]
)
VALUES = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
NAMES = st.one_of(
    st.sampled_from(("full_name", "email", *LINES, "is_homeowner", "tickets_past_year", "vehicles", "consent", "utm")),
    st.builds(
        "vehicles{0}{1}{2}{3}".format,
        st.sampled_from(["[", "-", ".", "[["]),
        st.integers(0, 12) | st.sampled_from(["", "-1", "999999", "9999999", "x"]),
        st.sampled_from(["][", "-", ".", "].", ""]),
        st.sampled_from(["make", "model]", "year", "vin", "DELETE", "id", "TOTAL_FORMS", "colour"]),
    ),
    st.builds("{0}[{1}]".format, st.sampled_from(["consent", "metadata"]), st.sampled_from(["text", "time"]) | TEXT),
    TEXT,
)
PAIRS = st.lists(st.tuples(NAMES, TEXT | st.sampled_from(["1", "on", "2021", "CA", "12345"])), max_size=12)


def json_bytes(value: Any, ascii_only: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def spliced(body: bytes, place: int, piece: bytes) -> bytes:
    at = place % (len(body) + 1)
    return body[:at] + piece + body[at + len(piece) // 2 :]


def multipart(pairs: list[tuple[str, str]], file_name: str, line_end: str) -> bytes:
    name = f'; filename="{file_name}"' if file_name else ""
    parts = [
        f'--b{line_end}Content-Disposition: form-data; name="{key}"{name}{line_end}{line_end}{value}{line_end}'
        for key, value in pairs
    ]
    return ("".join(parts) + f"--b--{line_end}").encode("utf-8", "surrogatepass")


MAILABLE = [("full_name", "Dana"), ("email", "dana@example.com")]
LEAD_BODIES = st.builds(json_bytes, lead_values(TEXT, SCALAR), st.booleans())
FORM_BODIES = PAIRS.map(lambda pairs: urlencode([*MAILABLE, *pairs]).encode())
MULTIPART_BODIES = st.builds(
    multipart,
    PAIRS.map(lambda pairs: [*MAILABLE, *pairs]),
    st.sampled_from(["", "", "", "a.txt"]),
    st.sampled_from(["\r\n", "\r\n", "\n"]),
)
BODIES = st.one_of(
    st.binary(max_size=300),
    st.builds(json_bytes, VALUES, st.booleans()),
    LEAD_BODIES,
    st.builds(spliced, LEAD_BODIES | FORM_BODIES | MULTIPART_BODIES, st.integers(0, 2_000), st.binary(max_size=8)),
)
ADF = "application/x-adf+xml"
ADF_NAMES = st.sampled_from(
    [
        "prospect",
        "id",
        "requestdate",
        "vehicle",
        "year",
        "make",
        "model",
        "vin",
        "price",
        "odometer",
        "customer",
        "contact",
        "name",
        "email",
        "phone",
        "address",
        "street",
        "regioncode",
        "postalcode",
        "comments",
        "vendor",
        "vendorname",
        "provider",
        "ADF",
        "x:year",
        "colour",
    ]
)


def element(name: str, attributes: list[tuple[str, str]], inner: str) -> str:
    return f"<{name}{''.join(f' {key}={value!r}' for key, value in dict(attributes).items())}>{inner}</{name}>"


ADF_ATTRIBUTES = st.lists(
    st.tuples(
        st.sampled_from(["part", "interest", "status", "source", "currency", "type", "preferredcontact", "line"]), TEXT
    ),
    max_size=3,
)
ADF_PARTS = st.recursive(
    TEXT | st.sampled_from(["2021", "21", "a@example.com", "&nbsp;", "&#0;", "&#xD800;", "<![CDATA[&]]>", "<", "<!--"]),
    lambda inner: st.builds(element, ADF_NAMES, ADF_ATTRIBUTES, st.lists(inner, max_size=3).map("".join)),
    max_leaves=12,
)
ADF_BODIES = st.builds(
    "{0}<adf><prospect>{1}<customer><contact><name part='full'>Dana</name><email>dana@example.com</email>{2}"
    "</contact></customer></prospect></adf>".format,
    st.sampled_from(
        ["", '<?xml version="1.0"?>', "<?ADF?><?XML?>", '<?xml version="1.0" encoding="iso-8859-1"?>', "x"]
    ),
    st.lists(ADF_PARTS, max_size=3).map("".join),
    st.lists(ADF_PARTS, max_size=3).map("".join),
).map(lambda text: text.encode("utf-8", "surrogatepass"))
FITTING = st.one_of(
    st.tuples(ADF_BODIES | st.builds(spliced, ADF_BODIES, st.integers(0, 2_000), st.binary(max_size=8)), st.just(ADF)),
    st.tuples(LEAD_BODIES, st.just(JSON)),
    st.tuples(FORM_BODIES, st.just(FORM)),
    st.tuples(MULTIPART_BODIES, st.just("multipart/form-data; boundary=b")),
    st.tuples(BODIES, TYPES),
)


class Door:
    """The API in this loop and what Redis holds."""

    def __init__(self, api: httpx.AsyncClient, client: Any) -> None:
        self._api, self._client = api, client

    async def post(self, path: str, body: bytes, content_type: str) -> tuple[httpx.Response, int]:
        """The answer, and how many leads it stored."""
        before = await self._client.xlen(LEADS)
        headers = {"content-type": content_type} if content_type else {}
        answer = await self._api.post(path, content=body, headers=headers)
        return answer, await self._client.xlen(LEADS) - before

    async def newest_is_mailable(self) -> None:
        """The newest lead gives a notification and a welcome mail with our headers only."""
        ((entry_id, fields),) = await self._client.xrevrange(LEADS, count=1)
        lead = await opened_lead(self._client, LEADS, entry_id, fields)
        for kind, names in ((Kind.NOTIFICATION, FIXED), (Kind.WELCOME, WELCOME_FIXED)):
            mail = prepared(lead, kind).for_recipient(
                name=lead.full_name, address="s1@example.com", message_id=MESSAGE_ID, date=NOW
            )
            found = [name for name in header_names(mail.data) if name != "reply-to"]
            assert found == [name for name in names if name != "reply-to"]
            assert_wire_safe(mail.data)
        for form in (MailFormat.TEXT, MailFormat.ADF):
            built = BUILDER.build(Kind.NOTIFICATION, "lead-1", lead, NOW, form)
            assert_wire_safe(
                built.for_recipient(name=lead.full_name, address="s1@example.com", message_id=MESSAGE_ID, date=NOW).data
            )


@contextmanager
def opened(settings: Settings) -> Iterator[tuple[asyncio.Runner, Door]]:
    """One API for all examples of a test: its lifespan lives in a task of its own, so runs may come one by one."""
    client = connect(settings.redis_url, timeout_s=5.0)
    context = api_client(settings)
    with asyncio.Runner() as runner:
        api = runner.run(context.__aenter__())
        try:
            yield runner, Door(api, client)
        finally:
            runner.run(context.__aexit__(None, None, None))
            runner.run(client.aclose())


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code in REFUSALS, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code
    assert "Traceback" not in answer.text


def test_any_body_is_stored_once_and_mailable_or_refused_and_not_stored(
    settings: Settings, record_property: Callable[[str, object], None]
) -> None:
    tried = 0
    with opened(settings) as (runner, door):

        @depth(usual=100, fuzz=1_200)
        @given(given_body=FITTING)
        def check(given_body: tuple[bytes, str]) -> None:
            nonlocal tried
            tried += 1
            answer, stored = runner.run(door.post("/leads", *given_body))
            if answer.status_code == 202:
                assert stored == 1
                runner.run(door.newest_is_mailable())
            else:
                assert_refused(answer)
                assert stored == 0

        check()
    record_property("examples", tried)


def test_any_batch_stores_as_many_leads_as_lines_say_they_are_taken(
    settings: Settings, record_property: Callable[[str, object], None]
) -> None:
    tried = 0
    with opened(settings) as (runner, door):

        @depth(usual=40, fuzz=300)
        @given(
            lines=st.lists(LEAD_BODIES | BODIES, min_size=1, max_size=5), end=st.sampled_from([b"\n", b"\r\n", b"\n\n"])
        )
        def check(lines: list[bytes], end: bytes) -> None:
            nonlocal tried
            tried += 1
            answer, stored = runner.run(door.post("/leads/batch", end.join(lines), NDJSON))
            if answer.status_code != 200:
                assert_refused(answer)
                assert stored == 0
                return
            results = [json.loads(line) for line in answer.text.split("\n") if line]
            assert {result["status"] for result in results} <= {202, *REFUSALS}
            assert stored == sum(result["status"] == 202 for result in results)

        check()
    record_property("examples", tried)

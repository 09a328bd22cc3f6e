"""Text as attackers and odd keyboards type it: any Unicode, and pieces that meant something to some mail program."""

from __future__ import annotations

from hypothesis import strategies as st

from leadstream_events.schemas.lead import MAX_VEHICLES

PIECES = (
    *("\r\n", "\n", "\r", "\u2028", "\x85", "\x00", "\x1b[31m", "\t", " ", "  "),
    *("Bcc: x@example.test", "\r\nBcc: x@example.test\r\n", "\r\n\r\n", "\r\n.\r\n", ".", "..", "From "),
    *("=?", "?=", "=?UTF-8?Q?=0A?=", "=?utf-8?b?DQo=?=", "=?utf-8?q?=0D=0ABcc:_x?=", "=_", "--=_", "=3D"),
    *('"', "\\", "(", ")", "<", ">", ",", ";", ":", "@", "<s@example.test>", "a@[127.0.0.1]", '"a b"@example.test'),
    *("{{7*7}}", "{% raw %}", "${7*7}", "%(name)s", "{0.__class__}", "{#"),
    *("<script>", "</td>", "&amp;", "&", "'", "http://bad.example/x", "www.bad.example", "javascript:x"),
    *("\u202e", "\u2066", "\u200b", "\ufeff", "\u0301", "漢字", "דנה", "😀", "é", "ß", "İ", "xn--", "\U0010ffff"),
)
PLAIN = st.characters(exclude_categories=["Cs"])
TEXT = st.one_of(
    st.text(PLAIN, max_size=60),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(PLAIN, max_size=6)), max_size=14).map("".join),
    st.sampled_from(PIECES).map(lambda piece: piece * 40),
)
SCALAR = st.one_of(TEXT, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
LINES = ("phone_number", "address", "city", "state", "zip_code", "birth_date", "source")


def lead_values(text: st.SearchStrategy[str], rest: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Leads that have the right shape; `rest` are values of fields that are no text."""
    vehicle = st.fixed_dictionaries({"year": rest, "make": text, "model": text}, optional={"vin": text})
    consent = st.fixed_dictionaries({}, optional=dict.fromkeys(("text", "url", "ip", "user_agent", "time"), text))
    optional: dict[str, st.SearchStrategy[object]] = dict.fromkeys(LINES, text)
    optional |= dict.fromkeys(("tickets_past_year", "accidents_past_year", "is_homeowner"), rest)
    optional |= {
        "vehicles": st.lists(vehicle, max_size=MAX_VEHICLES + 1),
        "consent": consent,
        "metadata": st.dictionaries(text, SCALAR, max_size=4),
    }
    return st.fixed_dictionaries({"full_name": text, "email": st.just("dana@example.com")}, optional=optional)

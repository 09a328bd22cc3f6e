"""Where the bounce receiver listens, as settings write it."""

from __future__ import annotations

import pytest

from leadstream_events.errors import ConfigurationError
from leadstream_events.listening import Listen, parse_imap, parse_listen
from leadstream_events.settings import load_settings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:2525", (Listen("smtp", "127.0.0.1", 2525),)),
        ("smtp:localhost:25", (Listen("smtp", "localhost", 25),)),
        ("lmtp:[::1]:24", (Listen("lmtp", "::1", 24),)),
        ("/run/b.sock", (Listen("lmtp", path="/run/b.sock"),)),
        ("lmtp:/run/b.sock", (Listen("lmtp", path="/run/b.sock"),)),
        ("0.0.0.0:2525, lmtp:/run/b", (Listen("smtp", "0.0.0.0", 2525), Listen("lmtp", path="/run/b"))),
        ("off", ()),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, found: tuple[Listen, ...]) -> None:
    assert parse_listen(text) == found
    assert parse_listen(",".join(map(str, found)) or "off") == found


@pytest.mark.parametrize("text", ["2525", "host", "host:99999", "smtp:/run/x", "ho st:25", "a:1,,b:2", "::1:25"])
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match="LEADSTREAM_BOUNCES_LISTEN: must be host:port"):
        load_settings(bounces_listen=text)


def test_a_mailbox_is_read_with_its_defaults() -> None:
    found = parse_imap("imaps://bounce%40example.com@imap.example.com")
    assert (found.tls, found.host, found.port, found.user, found.folder) == (
        True, "imap.example.com", 993, "bounce@example.com", "INBOX",
    )  # fmt: skip
    assert parse_imap("imap://me@127.0.0.1:1143/Bounces").folder == "Bounces"

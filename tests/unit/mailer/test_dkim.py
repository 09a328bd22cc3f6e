"""Signatures that another implementation (dkimpy) verifies, for everything that our mails can look like."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from leadstream_events.errors import ConfigurationError
from leadstream_events.settings import Settings
from leadstream_mail.dkim import DkimKey, signatures
from leadstream_mail.dkim_keys import keys_of, new_key, pem_of, record_of, zone_line
from tests.support.dkim_check import verify

RSA = DkimKey("example.com", "r1", new_key(ed25519=False))
ED25519 = DkimKey("example.com", "e1", new_key(ed25519=True))
BOTH = (RSA, ED25519)
AT = 1_795_000_000

PLAIN = (
    b"From: leads@example.com\r\nTo: s1@example.com\r\nSubject: New lead\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n"
    b"Message-ID: <a@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
)
MAILS = {
    "plain": PLAIN + b"\r\nhello\r\n",
    "no body": PLAIN + b"\r\n",
    "empty lines at the end": PLAIN + b"\r\nhello\r\n\r\n\r\n",
    "blanks": PLAIN + b"\r\na  \t b \r\n \r\nc\t\r\n",
    "no line end": PLAIN + b"\r\nhello",
    "8bit": PLAIN + "\r\nhällo wörld\r\n".encode(),
    "utf-8 header": PLAIN.replace(b"To: s1@", "To: jürgen@".encode()) + b"\r\nx\r\n",
    "folded": PLAIN.replace(b"Subject: New lead", b"Subject: New\r\n lead\r\n\tfrom  here ") + b"\r\nx\r\n",
    "repeated": b"X-Leadstream-Lead: 1\r\nX-Leadstream-Lead: 2\r\n" + PLAIN + b"\r\nx\r\n",
    "list": PLAIN
    + b"List-Unsubscribe: <https://x/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    + b"Reply-To: a@b.c\r\n\r\nx\r\n",
    "dots": PLAIN + b"\r\n.\r\n..\r\n.x\r\n",
}


def signed(mail: bytes) -> bytes:
    return signatures(mail, BOTH, AT) + mail


@pytest.mark.parametrize("mail", MAILS.values(), ids=MAILS)
def test_both_signatures_verify(mail: bytes) -> None:
    assert verify(signed(mail), BOTH) == [True, True]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"hello", b"hallo"),
        (b"New lead", b"New leads"),
        (b"From: leads@", b"From: forged@"),
        (b"Subject:", b"Subject: another\r\nSubject:"),
        (b"MIME-Version", b"Reply-To: thief@example.net\r\nMIME-Version"),
        (b"MIME-Version", b"Cc: thief@example.net\r\nMIME-Version"),
        (b"hello\r\n", b"hello\r\nmore\r\n"),
    ],
)
def test_a_mail_that_was_changed_does_not_verify(before: bytes, after: bytes) -> None:
    mail = signed(MAILS["plain"])
    assert mail.count(before) == 1
    assert verify(mail.replace(before, after), BOTH) == [False, False]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"New lead", b"New\r\n\tlead"),
        (b"hello\r\n", b"hello  \r\n\r\n"),
        (b"From: ", b"Received: from a by b\r\nFrom: "),
        (b"From: ", b"FROM:   "),
    ],
)
def test_a_mail_that_a_relay_wrote_anew_still_verifies(before: bytes, after: bytes) -> None:
    mail = signed(MAILS["plain"])
    assert mail.count(before) == 1
    assert verify(mail.replace(before, after), BOTH) == [True, True]


def test_equal_input_gives_equal_bytes_and_lines_stay_short() -> None:
    assert signed(MAILS["list"]) == signed(MAILS["list"])
    assert max(map(len, signatures(MAILS["list"], BOTH, AT).split(b"\r\n"))) <= 78


@pytest.mark.parametrize("ed25519", [False, True])
def test_a_record_for_a_zone_file_holds_strings_that_dns_takes(ed25519: bool) -> None:
    record = record_of(new_key(ed25519=ed25519))
    line = zone_line("r1", "example.com", record)
    assert line.startswith("r1._domainkey.example.com. IN TXT (")
    strings = line.split('"')[1::2]
    assert "".join(strings) == record and max(map(len, strings)) <= 255
    assert base64.b64decode(record.partition("p=")[2])


def files(folder: Path) -> dict[str, Path]:
    made = {"rsa": new_key(ed25519=False), "ed25519": new_key(ed25519=True)}
    paths = {name: folder / f"{name}.pem" for name in made}
    for name, key in made.items():
        paths[name].write_bytes(pem_of(key))
    return paths


def test_keys_come_from_the_settings_and_sign_for_the_senders_domain(tmp_path: Path) -> None:
    paths = files(tmp_path)
    settings = Settings(
        mail_from="leads@bücher.example",
        dkim_selector="r1",
        dkim_key_file=paths["rsa"],
        dkim_ed25519_selector="e1",
        dkim_ed25519_key_file=paths["ed25519"],
    )
    keys = keys_of(settings)
    assert [(key.domain, key.selector, key.algorithm) for key in keys] == [
        ("xn--bcher-kva.example", "r1", "rsa-sha256"),
        ("xn--bcher-kva.example", "e1", "ed25519-sha256"),
    ]
    assert verify(signatures(MAILS["plain"], keys, AT) + MAILS["plain"], keys) == [True, True]
    assert keys_of(settings.model_copy(update={"dkim_domain": "example.org"}))[0].domain == "example.org"


def test_without_keys_nothing_is_signed() -> None:
    assert keys_of(Settings()) == ()
    assert signatures(MAILS["plain"], (), AT) == b""


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dkim_key_file": None}, "LEADSTREAM_DKIM_KEY_FILE"),
        ({"dkim_selector": None}, "LEADSTREAM_DKIM_SELECTOR"),
        ({"dkim_selector": "a b"}, "LEADSTREAM_DKIM_SELECTOR"),
        ({"dkim_key_file": "missing.pem"}, "LEADSTREAM_DKIM_KEY_FILE"),
        ({"dkim_key_file": "ed25519.pem"}, "LEADSTREAM_DKIM_KEY_FILE"),
        ({"dkim_key_file": "text.pem"}, "LEADSTREAM_DKIM_KEY_FILE"),
        ({"dkim_ed25519_selector": "e1", "dkim_ed25519_key_file": "rsa.pem"}, "LEADSTREAM_DKIM_ED25519_KEY_FILE"),
    ],
)
def test_a_wrong_key_is_refused_by_the_name_of_its_setting(
    tmp_path: Path, change: dict[str, str | None], named: str
) -> None:
    paths = files(tmp_path)
    (tmp_path / "text.pem").write_text("no key")
    values: dict[str, Any] = {"dkim_selector": "r1", "dkim_key_file": paths["rsa"]}
    values |= {name: tmp_path / value if value and name.endswith("file") else value for name, value in change.items()}
    with pytest.raises(ConfigurationError) as caught:
        keys_of(Settings(**values))
    assert str(caught.value).startswith(named + ":")

"""Return paths map back to their mail exactly, and nobody else can make one (cases 146, 147)."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events import tokens
from leadstream_events.errors import ConfigurationError
from leadstream_events.setting_values import MAX_RETURN_PATH_LOCAL
from leadstream_events.settings import load_settings
from leadstream_events.tokens import Purpose
from leadstream_mail.return_path import MailRef, ReturnPaths, read_return_path, return_path

SECRETS = (b"the newest secret", b"an older secret")
BASE = "bounce@leads.example.com"
LEAD, EMAIL = str(uuid.UUID(int=7 << 100 | 1)), str(uuid.UUID(int=9 << 99 | 2))
OURS = MailRef(LEAD, EMAIL[:8])


def _change(address: str, spelling: str) -> str:
    local, _, domain = address.partition("@")
    return {
        "as it was": address,
        "upper": address.upper(),
        "in angles": f" <{address}> ",
        "behind the token": f"{local}=x@{domain}",
    }[spelling]


@given(st.uuids(), st.uuids(), st.sampled_from(["as it was", "upper", "in angles", "behind the token"]))
def test_a_return_path_maps_back_in_every_spelling(lead: uuid.UUID, email: uuid.UUID, spelling: str) -> None:
    address = return_path(BASE, SECRETS, str(lead), str(email))
    found = read_return_path(_change(address, spelling), BASE, SECRETS)
    assert found == MailRef(str(lead), str(email)[:8])


def test_the_key_is_opaque_and_the_local_part_short_enough() -> None:
    base = f"{'b' * MAX_RETURN_PATH_LOCAL}@leads.example.com"
    local = return_path(base, SECRETS, LEAD, EMAIL).partition("@")[0]
    assert re.fullmatch(r"b+\+[a-z2-7]{48}", local)
    assert len(local) == 64


def test_an_older_secret_still_counts() -> None:
    assert read_return_path(return_path(BASE, SECRETS[1:], LEAD, EMAIL), BASE, SECRETS) == OURS


@pytest.mark.parametrize(
    "forged",
    [
        "bounce@leads.example.com",
        "bounce+@leads.example.com",
        "bounce+k7f3@leads.example.com",
        "bounce+" + "a" * 48 + "@leads.example.com",
        "bounce+" + "é" * 48 + "@leads.example.com",
        return_path(BASE, (b"a stranger's secret",), LEAD, EMAIL),
        return_path("bounce@other.example.com", SECRETS, LEAD, EMAIL),
        return_path("other@leads.example.com", SECRETS, LEAD, EMAIL),
        "bounce+"
        + tokens.to_local_part(tokens.sign(SECRETS, Purpose.MAIL, uuid.UUID(LEAD).bytes + b"1234"))
        + "@leads.example.com",
        "bounce+"
        + tokens.to_local_part(tokens.sign(SECRETS, Purpose.RETURN_PATH, b"too short"))
        + "@leads.example.com",
        "",
        "@",
    ],
)
def test_what_we_did_not_sign_for_this_names_no_mail(forged: str) -> None:
    assert read_return_path(forged, BASE, SECRETS) is None


@given(st.integers(0, 47), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_token_with_one_letter_changed_names_no_mail(place: int, letter: str) -> None:
    address = return_path(BASE, SECRETS, LEAD, EMAIL)
    at = len("bounce+") + place
    changed = address[:at] + letter + address[at + 1 :]
    assert read_return_path(changed, BASE, SECRETS) == (OURS if changed == address else None)


def test_ids_that_are_no_uuids_and_unknown_secrets_leave_the_base() -> None:
    assert return_path(BASE, SECRETS, "lead-1", EMAIL) == BASE
    assert return_path(BASE, SECRETS, LEAD.upper().replace("0", "A"), "x") == BASE
    assert ReturnPaths("leads@example.com", BASE).of(LEAD, EMAIL) == BASE
    assert ReturnPaths("leads@example.com", None, SECRETS).of(LEAD, EMAIL) == "leads@example.com"
    assert ReturnPaths("leads@example.com", BASE, SECRETS).of(LEAD, EMAIL) == return_path(BASE, SECRETS, LEAD, EMAIL)


@pytest.mark.parametrize("value", ["bounces+x@example.com", "b" * 16 + "@example.com"])
def test_a_base_without_room_for_a_token_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigurationError, match="LEADSTREAM_RETURN_PATH: its local part must"):
        load_settings(return_path=value)

"""`normal_address` checks most local parts without the library; it must say what the library would."""

from __future__ import annotations

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from leadstream_events.schemas.lead import normal_address

LOCALS = st.text("ab0._-+'A\"<é ", max_size=8) | st.sampled_from(["postmaster", "Postmaster", "x" * 64, "x" * 65])
LONG = f"{'a' * 63}.{'b' * 63}"
DOMAINS = st.sampled_from(
    "example.com|EXAMPLE.com|bücher.example|xn--bcher-kva.example|xn--a.com|[127.0.0.1]|-a.com|com|a..b||x.test|localhost"
    f"|a.com>|a.com |{LONG}.{'c' * 61}.com|{'a' * 64}.com".split("|")
)


def by_library(value: str) -> str | None:
    try:
        return validate_email(value, check_deliverability=False, test_environment=True).normalized
    except (EmailNotValidError, UnicodeError):
        return None


@given(local=LOCALS, domain=DOMAINS)
@example(local="x" * 64, domain=f"{LONG}.{'c' * 57}.com")
@example(local="a@b", domain="example.com")
def test_an_address_is_what_the_library_says_whichever_way_it_is_checked(local: str, domain: str) -> None:
    value = f"{local}@{domain}"
    expected = by_library(value)
    if expected is None:
        with pytest.raises(ValueError, match=r"."):
            normal_address(value)
    else:
        assert normal_address(value) == expected


def test_text_without_an_at_sign_is_no_address() -> None:
    with pytest.raises(ValueError, match="@"):
        normal_address("nobody")

"""Hides personal data: what was typed by a visitor, and every address, from whoever has no right to it.

The command line shows it with `--pii`, the API to keys with the scope `read:pii`.

Works on plain JSON values so that it needs no schema: fields are hidden by name, and addresses inside other texts
(SMTP replies quote them) by their looks. A field that is not known to be harmless inside a lead is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"'@]+@[^\s<>()\[\],;:\"'@]+")
# A suppressed lead's own address, which nobody can read (`address_digest.py`); it is released by this.
_DIGEST = re.compile(r"hmac:[0-9a-f]{32}")
_ADDRESS_FIELDS = frozenset(("email", "to", "recipient", "recipients", "sender"))
_PERSONAL = frozenset(
    (
        *("full_name", "name", "subscriber_name", "phone_number", "phone", "city", "zip_code", "birth_date", "vin"),
        *("ip", "user_agent"),
        *("consent", "metadata", "other", "mail_subject"),
    )
)
# Inside a lead everything else is hidden: a new field is personal until somebody says otherwise.
_HARMLESS_IN_LEAD = frozenset(
    (
        *("state", "source", "tickets_past_year", "accidents_past_year", "is_homeowner"),
        *("vehicles", "year", "make", "model"),
        # Of a sealed lead: what nobody can read without its key, and why it was not opened.
        *("sealed", "erased", "locked"),
    )
)


def mask_address(value: str) -> str:
    """Returns `m***@example.com`."""
    local, at, domain = value.rpartition("@")
    return f"{local[:1]}***@{domain}" if at else "***"


def mask_word(value: object) -> str:
    """Returns the first letter and `***`; numbers lose every digit."""
    text = str(value)
    return f"{text[:1]}***" if text[:1].isalpha() else "***"


def mask_text(value: str) -> str:
    """Returns the text with every address in it masked."""
    return _ADDRESS.sub(lambda match: mask_address(match[0]), value) if "@" in value else value


def mask(value: Any, key: str = "", *, in_lead: bool = False) -> Any:
    """Returns a JSON value with personal data hidden; `key` is the field it stands in."""
    if value is None or (key == "address" and not in_lead and _is_digest(value)):
        return value
    if key == "lead" and isinstance(value, Mapping):
        return {name: mask(item, name, in_lead=True) for name, item in value.items()}
    if key in _PERSONAL or (key == "address" and not _is_address(value)):
        return _hide(value)
    if key in _ADDRESS_FIELDS or key == "address":
        return [_hide_address(item) for item in value] if isinstance(value, list | tuple) else _hide_address(value)
    if key == "by" and isinstance(value, str) and "." not in value.rpartition("@")[2]:
        return value  # an operator as user@host, which is no address
    if key == "data" and isinstance(value, str):  # a stored entry that is not even JSON: nobody knows what is in it
        return "***"
    if isinstance(value, Mapping):
        unreadable = value.get("encoding") == "base64"
        return {
            name: _hide(item) if unreadable and name == "fields" else mask(item, name, in_lead=in_lead)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask(item, key, in_lead=in_lead) for item in value]
    if in_lead and key not in _HARMLESS_IN_LEAD:
        return _hide(value)
    return mask_text(value) if isinstance(value, str) else value


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and bool(_DIGEST.fullmatch(value))


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and bool(_ADDRESS.fullmatch(value))


def _hide_address(value: Any) -> Any:
    return mask_address(value) if isinstance(value, str) else _hide(value)


def _hide(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _hide(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(item) for item in value]
    return None if value is None else mask_word(value)

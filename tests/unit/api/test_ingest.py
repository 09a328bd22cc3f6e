"""Idempotency keys, traces and fingerprints, without any server."""

from __future__ import annotations

from typing import Any, cast

import pytest
from litestar.types import Scope

from leadstream_api.ingest import fingerprint, idempotency_key, lead_id_of, trace_of
from leadstream_api.problems import Problem
from leadstream_events.schemas.lead import Lead

VALID = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def scope(*headers: tuple[bytes, bytes]) -> Scope:
    found: dict[str, Any] = {"headers": list(headers)}
    return cast(Scope, found)


def test_a_valid_traceparent_is_kept() -> None:
    assert trace_of(scope((b"traceparent", VALID))) == VALID.decode()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"ff" + VALID[2:],
        VALID.upper(),
        VALID + b"-x",
        b"00-" + b"0" * 32 + VALID[35:],
        VALID[:36] + b"0" * 16 + b"-01",
        b"\xff\x00",
    ],
)
def test_an_invalid_traceparent_counts_as_none(value: bytes) -> None:
    assert trace_of(scope((b"traceparent", value))) == ""


def test_two_traceparents_count_as_none() -> None:
    assert trace_of(scope((b"traceparent", VALID), (b"traceparent", VALID))) == ""


@pytest.mark.parametrize("key", [b"", b"a b", b"\xc3\xa9", b"x" * 256, b"a\tb"])
def test_an_idempotency_key_must_be_visible_ascii(key: bytes) -> None:
    with pytest.raises(Problem) as caught:
        idempotency_key(scope((b"idempotency-key", key)))
    assert (caught.value.status, caught.value.errors[0].field) == (400, "Idempotency-Key")


def test_two_idempotency_keys_are_refused() -> None:
    with pytest.raises(Problem):
        idempotency_key(scope((b"idempotency-key", b"a"), (b"idempotency-key", b"b")))


def test_the_longest_idempotency_key_is_taken() -> None:
    assert idempotency_key(scope((b"idempotency-key", b"x" * 255))) == "x" * 255


def test_lead_ids_follow_the_key_and_the_line_and_are_fresh_without_a_key() -> None:
    assert lead_id_of("k", "a") == lead_id_of("k", "a")
    made = [lead_id_of("k", "a"), lead_id_of("k", "a", 1), lead_id_of("k", "a", 2), lead_id_of("k", "b")]
    assert len({*made, lead_id_of(None, "a"), lead_id_of(None, "a")}) == 6


def lead(text: str) -> Lead:
    return Lead.model_validate_json(text, strict=True)


def test_a_fingerprint_ignores_key_order_blanks_and_defaults_spelt_out() -> None:
    one = lead('{"full_name":"A","email":"a@example.com","metadata":{"x":1,"y":2}}')
    two = lead('{"metadata": {"y": 2, "x": 1}, "vehicles": [], "email": "a@EXAMPLE.com", "full_name": " A "}')
    assert fingerprint(one) == fingerprint(two)


@pytest.mark.parametrize(
    "other", ['"full_name":"B"', '"full_name":"A","city":"X"', '"full_name":"A","metadata":{"x":2}']
)
def test_a_fingerprint_tells_different_leads_apart(other: str) -> None:
    one = lead('{"full_name":"A","email":"a@example.com","metadata":{"x":1}}')
    assert fingerprint(one) != fingerprint(lead(f'{{"email":"a@example.com",{other}}}'))

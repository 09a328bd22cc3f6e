"""What a line of the keys file says, and which key a secret is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leadstream_api.access.keys import Key, Keyring, digest, make_key, new_secret, parse_keys, rotated
from leadstream_api.access.scopes import Scope
from leadstream_events.errors import ConfigurationError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "ls_" + "k" * 43


def key(secret: str = SECRET, **values: Any) -> Key:
    plain = {"name": "site", "sha256": digest(secret), "scopes": ["read"], "created": NOW}
    return make_key(plain | values)


def test_a_secret_has_256_random_bits_and_names_itself_to_secret_scanners() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(each.startswith("ls_") and len(each) == 3 + 43 for each in made)
    assert new_secret(publishable=True).startswith("ls_pub_")


def test_the_line_of_a_key_does_not_hold_the_secret_and_reads_back_as_the_same_key() -> None:
    made = key(scopes=["read:pii", "ingest"], limit="100/min", expires=NOW + timedelta(days=1), revoked=NOW)
    line = made.line()
    assert SECRET not in line
    assert parse_keys(line, "f") == (made,)


def test_a_keyring_knows_its_own_secrets_only() -> None:
    ring = Keyring([key()])
    assert ring.of_secret(SECRET) == key()
    wrong = (SECRET[:-1], SECRET + "x", SECRET.upper(), "", " ", "ls_", digest(SECRET), "é" * 43, "x" * 100_000)
    assert [each for each in wrong if ring.of_secret(each)] == []


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "live"),
        ({"expires": NOW + timedelta(seconds=1)}, "live"),
        ({"expires": NOW}, "expired"),
        ({"revoked": NOW}, "revoked"),
        ({"revoked": NOW, "expires": NOW}, "revoked"),
        ({"revoked": NOW + timedelta(seconds=1)}, "live"),
    ],
)
def test_a_key_ends_at_the_very_second_it_says(values: dict[str, Any], state: str) -> None:
    assert key(**values).state(NOW) == state


def test_admin_holds_every_scope_and_read_pii_holds_read_and_nothing_else_holds_more_than_itself() -> None:
    held = {scope: key(scopes=[scope]).held_scopes for scope in Scope}
    assert held[Scope.ADMIN] == set(Scope)
    assert held[Scope.READ_PII] == {Scope.READ, Scope.READ_PII}
    assert held[Scope.READ] == {Scope.READ}
    assert held[Scope.INGEST] == {Scope.INGEST}


@pytest.mark.parametrize("scopes", [["read"], ["admin"], ["ingest", "read"], ["ingest", "read:pii"]])
def test_a_publishable_key_can_do_nothing_but_ingest(scopes: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="only scope must be ingest"):
        key(scopes=scopes, origins=["https://www.example.com"])


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "www.example.com",
        "https://*.example.com",
        "https://example.com/form",
        "ftp://example.com",
        "https://bücher.example",
    ],
)
def test_an_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="must be an origin"):
        key(scopes=["ingest"], origins=[origin])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('{"name": "a b"}', "name"),
        (key().line().replace('"read"', '"write"'), "scopes.0: must be one of ingest, read, read:pii, admin"),
        (key().line().replace('["read"]', "[]"), "scopes"),
        (key().line().replace('"created"', '"made"'), "created: Field required"),
        (key(limit="5/min").line().replace("5/min", "often"), "limit: must be off, or a number"),
        (key().line(), "the same key stands in an earlier line"),
    ],
)
def test_a_wrong_line_is_named_with_its_number_and_its_fault(line: str, says: str) -> None:
    text = f"# keys\n\n{key().line()}\n{line}\n"
    with pytest.raises(ConfigurationError) as caught:
        parse_keys(text, "keys.jsonl")
    assert "keys.jsonl, line 4" in str(caught.value)
    assert says in str(caught.value)


def test_a_wrong_line_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_keys('{"name": "ls_oops-a-real-secret!", "key": "ls_oops"}', "f")
    assert "oops" not in str(caught.value)


def test_a_rotation_keeps_the_rights_and_ends_the_old_key_after_the_grace_but_never_later_than_before() -> None:
    old = key(limit="9/s", created=NOW - timedelta(days=10), expires=NOW + timedelta(days=20))
    new, ending = rotated(old, digest("ls_new"), NOW, timedelta(hours=24))
    assert (new.scopes, new.limit, new.name) == (old.scopes, old.limit, old.name)
    assert (new.created, new.expires) == (NOW, NOW + timedelta(days=30))
    assert ending.expires == NOW + timedelta(hours=24)
    assert rotated(old, digest("x"), NOW, timedelta(days=99))[1].expires == old.expires
    assert rotated(key(), digest("x"), NOW, timedelta(days=1))[0].expires is None

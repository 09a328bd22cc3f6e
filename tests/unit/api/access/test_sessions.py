"""The cookie of a session cannot be made, changed or kept alive by anybody else."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_api.access.sessions import LIFETIME_S, EndedSessions, Session, Signer, load_secret, new_session

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIGNER = Signer(b"s" * 32)
SESSION = Session("0123456789abcdef", int(NOW.timestamp()) + LIFETIME_S, "ab" * 16)
COOKIE = SIGNER.cookie(SESSION)


def test_a_cookie_reads_back_until_it_expires() -> None:
    assert SIGNER.read(COOKIE, NOW) == SESSION
    assert SIGNER.read(COOKIE, NOW + timedelta(seconds=LIFETIME_S - 1)) == SESSION
    assert SIGNER.read(COOKIE, NOW + timedelta(seconds=LIFETIME_S)) is None


@given(st.integers(0, len(COOKIE) - 1), st.characters(codec="latin-1"))
def test_no_changed_byte_goes_unnoticed(at: int, char: str) -> None:
    changed = COOKIE[:at] + char + COOKIE[at + 1 :]
    assert changed == COOKIE or SIGNER.read(changed, NOW) is None


@pytest.mark.parametrize("cookie", ["", ".", COOKIE + "\n", COOKIE.upper(), COOKIE.rpartition(".")[0], COOKIE + COOKIE])
def test_what_is_no_cookie_is_no_session(cookie: str) -> None:
    assert SIGNER.read(cookie, NOW) is None


def test_another_secret_signs_nothing_for_us() -> None:
    assert Signer(b"t" * 32).read(COOKIE, NOW) is None


def test_a_csrf_token_belongs_to_one_session_and_is_no_part_of_its_cookie() -> None:
    other = new_session(SESSION.key_id, NOW)
    token = SIGNER.csrf_token(SESSION)
    assert token not in COOKIE
    assert SIGNER.is_csrf_token(SESSION, token)
    wrong = [SIGNER.csrf_token(other), SESSION.nonce, COOKIE, "", token[:-1], "\xff", "\udcff"]
    assert [each for each in wrong if SIGNER.is_csrf_token(SESSION, each)] == []


def test_a_sign_out_holds_for_every_process_of_the_data_directory_and_is_forgotten_when_it_has_no_use(
    tmp_path: Path,
) -> None:
    EndedSessions(tmp_path).end(SESSION, NOW)
    assert EndedSessions(tmp_path).has(SESSION)
    later = new_session(SESSION.key_id, NOW + timedelta(days=2))
    assert not EndedSessions(tmp_path).has(later)
    EndedSessions(tmp_path).end(later, NOW + timedelta(days=2))
    assert [each.name for each in (tmp_path / "sessions-ended").iterdir()] == [later.nonce]


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(load_secret, [tmp_path / "data"] * 16))
    assert len(found) == 1
    assert len(found.pop()) == 32
    assert stat.S_IMODE((tmp_path / "data" / "session.secret").stat().st_mode) == 0o600
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["session.secret"]


@pytest.mark.parametrize("content", ["", "00", "no hex"])
def test_a_broken_secret_is_never_used(tmp_path: Path, content: str) -> None:
    (tmp_path / "session.secret").write_text(content)
    assert len(load_secret(tmp_path)) == 32
    assert load_secret(tmp_path) != load_secret(tmp_path)

"""Which services run under one parent, and what is decided about a child."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress

import pytest

from leadstream_api.server import another_at
from leadstream_cli.commands import serve
from leadstream_cli.restarts import STEADY_S, backoff_s, failures_after, how_it_ended
from leadstream_cli.serving.children import MODULES, Child, Listening, configured, names_of, with_own_metrics
from leadstream_cli.serving.keeping import Kept
from leadstream_events.errors import ConfigurationError
from leadstream_events.settings import Settings


def kept() -> Kept:
    return Kept(Child("mailer", lambda: None))


def test_the_command_offers_every_service() -> None:
    assert list(serve.SERVICES) == list(MODULES)


def accepted(sock: socket.socket) -> int:
    """How many connections wait on it."""
    sock.setblocking(False)
    number = 0
    with suppress(BlockingIOError):
        while True:
            sock.accept()[0].close()
            number += 1
    return number


def test_who_has_left_an_address_is_sent_no_connections_until_he_joins_again() -> None:
    with ExitStack() as stack:
        one = Listening(stack.enter_context(socket.create_server(("127.0.0.1", 0))), another_at)
        two = Listening(stack.enter_context(another_at(one.sock)), another_at)
        two.sock.listen()
        address = one.sock.getsockname()

        def call() -> None:
            for _ in range(40):
                stack.enter_context(socket.create_connection(address))

        call()
        shares = accepted(one.sock), accepted(two.sock)
        assert sum(shares) == 40 and min(shares) > 0
        one.leave()
        assert not one.is_open
        call()
        assert accepted(two.sock) == 40
        one.join(two)
        stack.enter_context(one.sock).listen()
        call()
        assert accepted(one.sock) > 0
        with pytest.raises(OSError, match="in use"):  # nobody else can have the address
            socket.create_server(address)


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        (Settings(), []),
        (Settings(archive_url="file:///archive"), ["archiver"]),
        (Settings(return_path="bounce@example.com"), ["bounces"]),
        (Settings(abuse_to="abuse@example.com"), ["bounces"]),
    ],
)
def test_what_the_settings_ask_for_runs(settings: Settings, more: list[str]) -> None:
    assert configured(settings) == ["api", "fanout", "mailer", "projections", *more]


def test_a_service_that_is_there_twice_has_numbered_names() -> None:
    assert names_of(["api", "mailer", "fanout", "mailer"]) == ["api", "mailer-1", "fanout", "mailer-2"]


@pytest.mark.parametrize(
    ("listen", "place", "own"),
    [
        (None, 3, None),
        ("127.0.0.1:9100", 0, "127.0.0.1:9100"),
        ("127.0.0.1:9100", 2, "127.0.0.1:9102"),
        ("[::1]:9100", 1, "[::1]:9101"),
        ("127.0.0.1:0", 2, "127.0.0.1:0"),
    ],
)
def test_each_child_answers_its_metrics_at_a_port_of_its_own(listen: str | None, place: int, own: str | None) -> None:
    assert with_own_metrics(Settings(metrics_listen=listen), place).metrics_listen == own


def test_metrics_ports_end_where_ports_end() -> None:
    with pytest.raises(ConfigurationError, match="LEADSTREAM_METRICS_LISTEN: port 65535"):
        with_own_metrics(Settings(metrics_listen="127.0.0.1:65535"), 1)


def test_a_child_is_ready_once_it_said_so_and_not_after_it_ended() -> None:
    child = kept()
    child.started(7, 100.0)
    child.heard("WATCHDOG=1", 101.0)
    assert not child.ready
    child.heard("STATUS=up\nREADY=1", 102.0)
    assert child.ready
    child.ended(103.0)
    assert not child.ready and child.pid is None


def test_a_child_is_silent_after_its_time_and_not_when_the_parent_was_away() -> None:
    child = kept()
    assert not child.is_silent(1e9, 30.0), "it does not run"
    child.started(7, 100.0)
    assert (child.is_silent(130.0, 30.0), child.is_silent(130.1, 30.0)) == (False, True)
    child.forgive(130.1)
    assert not child.is_silent(160.0, 30.0)


def test_a_child_waits_longer_from_failure_to_failure_and_starts_over_when_it_ran_well() -> None:
    child, pauses = kept(), []
    for _ in range(7):
        child.started(7, 100.0)
        pauses.append(child.ended(101.0))
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert (child.is_due(110.9), child.is_due(111.0)) == (False, True)
    child.started(7, 200.0)
    assert not child.is_due(300.0), "it runs"
    assert child.ended(200.0 + STEADY_S + 1.0) == 0.5


def test_a_child_that_cannot_be_started_waits_longer_from_try_to_try() -> None:
    child = kept()
    child.started(7, 0.0)
    assert child.ended(1_000.0) == 0.5, "it ran well"
    assert [child.not_started(2_000.0 + 100 * number) for number in range(3)] == [1.0, 2.0, 4.0]


def test_failures_in_a_row() -> None:
    assert [failures_after(3, STEADY_S), failures_after(3, STEADY_S + 0.1)] == [4, 1]
    assert backoff_s(1) == 0.5 and backoff_s(10_000) == 10.0


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "ended with exit code 3"), (-9, "was killed by SIGKILL"), (-99, "was killed by signal 99")],
)
def test_an_end_in_words(code: int, words: str) -> None:
    assert how_it_ended(code) == words

"""When and how a supervisor is told."""

from __future__ import annotations

import socket
from pathlib import Path
from uuid import uuid4

import pytest

from leadstream_events.notify import BEAT_EVERY_S, Notifier, beat_every_s


@pytest.mark.parametrize(
    ("usec", "pid", "wanted"),
    [
        (None, None, BEAT_EVERY_S),
        ("30000000", None, BEAT_EVERY_S),
        ("4000000", None, 2.0),
        ("4000000", "7", 2.0),
        ("4000000", "8", BEAT_EVERY_S),
        ("0", None, BEAT_EVERY_S),
        ("soon", None, BEAT_EVERY_S),
    ],
)
def test_beats_come_twice_as_often_as_the_watchdog_of_this_process_asks(
    usec: str | None, pid: str | None, wanted: float
) -> None:
    assert beat_every_s(usec, pid, 7) == wanted


def test_nothing_happens_without_a_supervisor() -> None:
    notifier = Notifier.from_environment(None, {})
    notifier.ready()
    notifier.alive()
    assert notifier == Notifier(None, None, BEAT_EVERY_S)


def test_an_abstract_socket_is_reached() -> None:
    name = f"leadstream-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(5)
        Notifier.from_environment(None, {"NOTIFY_SOCKET": "@" + name}).ready()
        assert listening.recv(100) == b"READY=1"


def test_a_supervisor_that_is_gone_or_reads_nothing_never_stops_the_service(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "nobody")).alive()
    path = str(tmp_path / "deaf")[-100:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind("\0" + path)
        for _ in range(5_000):  # far more than a socket's queue holds
            Notifier("@" + path).alive()


def test_each_beat_makes_the_file_new(tmp_path: Path) -> None:
    notifier = Notifier(heartbeat=tmp_path / "alive")
    notifier.alive()
    first = (tmp_path / "alive").stat().st_mtime_ns
    while (tmp_path / "alive").stat().st_mtime_ns == first:
        notifier.alive()

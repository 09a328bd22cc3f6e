"""The parent of the services: forks them, starts again what ended or hangs, and drains them on SIGTERM.

It is single-threaded and runs no loop, because a fork copies neither threads nor what they hold. Linux only.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from structlog.stdlib import get_logger

from leadstream_cli.errors_text import DONE, WRONG_USE
from leadstream_cli.restarts import how_it_ended
from leadstream_cli.serving.child import PARENT_SIGNALS, become
from leadstream_cli.serving.children import Child, Listening
from leadstream_cli.serving.keeping import Kept
from leadstream_cli.serving.sharing import before_forks
from leadstream_cli.serving.words import Words
from leadstream_events.notify import Notifier

logger = get_logger("leadstream.serve")

# A child tells every five seconds that its loops turn, and is killed when it has been silent for so long.
SILENT_S = 30.0
_STOPPING = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


class Parent:
    """Keeps the children running from `run` until a signal. `stop_within_s`: how long they may drain."""

    def __init__(
        self, children: Sequence[Child], notifier: Notifier, *, stop_within_s: float, silent_s: float = SILENT_S
    ) -> None:
        self._kept = [Kept(child) for child in children]
        self._notifier, self._stop_within_s, self._silent_s = notifier, stop_within_s, silent_s
        self._look_s = min(notifier.every_s, silent_s / 6)
        self._words = Words()
        self._waked, self._waker = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._told_ready = False
        self._filling: list[bytes] = []
        self._told_alive_s = -math.inf
        self._code: int | None = None
        self._kill_at_s: float | None = None

    def run(self) -> int:
        """Returns the exit code: 0 after a signal, 2 when a child refuses its settings before all were ready."""
        self._listen()
        self._filling = before_forks()
        looked_s = monotonic()
        while True:
            now = monotonic()
            if now - looked_s > 2 * self._look_s:
                for kept in self._kept:
                    kept.forgive(now)
            looked_s = now
            self._look_after(now)
            if self._code is not None and all(kept.pid is None for kept in self._kept):
                return self._code
            self._wait(now)

    def _listen(self) -> None:
        for end in (self._waked, self._waker):
            end.setblocking(False)
        for number in PARENT_SIGNALS:
            signal.signal(number, lambda *_: None)  # what wakes us is the byte below
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for source in (self._waked, self._words):
            self._selector.register(source, selectors.EVENT_READ)

    def _wait(self, now: float) -> None:
        dues = [self._told_alive_s + self._look_s - now]
        dues += [kept.due_s - now for kept in self._kept if kept.pid is None and self._code is None]
        if self._kill_at_s is not None:
            dues.append(self._kill_at_s - now)
        self._selector.select(max(0.0, min(dues)))
        with suppress(BlockingIOError):
            if _STOPPING & set(self._waked.recv(4096)):
                self._stop(DONE)

    def _look_after(self, now: float) -> None:
        self._hear(now)
        self._collect(now)
        for kept in self._kept:
            if kept.pid is not None and kept.is_silent(now, self._silent_s):
                logger.error("hangs: killed", child=kept.child.name, pid=kept.pid, silent_s=self._silent_s)
                os.kill(kept.pid, signal.SIGKILL)
                kept.forgive(now)
            if self._code is None and kept.is_due(now):
                self._start(kept, now)
        if self._kill_at_s is not None and now >= self._kill_at_s:
            self._kill_the_rest()
        if now - self._told_alive_s >= self._look_s / 2:  # children wake it more often; words get lost in a crowd
            self._told_alive_s = now
            self._notifier.alive()

    def _hear(self, now: float) -> None:
        of_pid = {kept.pid: kept for kept in self._kept}
        for pid, words in self._words.heard():
            if pid in of_pid:
                of_pid[pid].heard(words, now)
        if not self._told_ready and self._code is None and all(kept.ready for kept in self._kept):
            self._told_ready = True
            logger.info("ready", children=len(self._kept))
            self._notifier.ready()

    def _collect(self, now: float) -> None:
        of_pid = {kept.pid: kept for kept in self._kept}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if kept := of_pid.get(pid):  # as PID 1 we are given others' orphans too
                self._ended(kept, os.waitstatus_to_exitcode(status), now)

    def _ended(self, kept: Kept, code: int, now: float) -> None:
        pause_s = kept.ended(now)
        if self._code is not None:
            return
        if code == WRONG_USE and not self._told_ready:
            logger.error("refuses its settings; everything is stopped", child=kept.child.name)
            self._stop(WRONG_USE)
            return
        self._leave_the_address(kept)
        logger.warning("started again soon", child=kept.child.name, how=how_it_ended(code), in_s=pause_s)

    def _beside(self, kept: Kept) -> list[tuple[Kept, Listening]]:
        """The other children at the same address whose sockets are open."""
        others = ((each, each.child.listening) for each in self._kept if each is not kept)
        return [(each, listening) for each, listening in others if listening and listening.is_open]

    def _leave_the_address(self, kept: Kept) -> None:
        """Callers go to a child that answers; the last open socket stays, so that they wait where there is none."""
        if kept.child.listening and any(each.ready for each, _ in self._beside(kept)):
            kept.child.listening.leave()

    def _return_to_the_address(self, kept: Kept) -> None:
        """With a socket of its own, or with that of one that does not run, where callers wait for nobody."""
        if kept.child.listening and not kept.child.listening.is_open:
            beside = self._beside(kept)
            unanswered = [listening for each, listening in beside if each.pid is None]
            if unanswered:
                kept.child.listening.take(unanswered[0])
            else:
                kept.child.listening.join(beside[0][1])

    def _start(self, kept: Kept, now: float) -> None:
        try:
            self._return_to_the_address(kept)
        except OSError as error:  # the interface is gone, or there are no file descriptors left
            pause_s = kept.not_started(now)
            logger.error("cannot listen now", child=kept.child.name, reason=error.strerror, in_s=pause_s)
            return
        parent = os.getpid()
        told_by = {"NOTIFY_SOCKET": self._words.address, "WATCHDOG_USEC": str(int(self._silent_s * 1_000_000))}
        siblings = [other.child for other in self._kept]
        signal.pthread_sigmask(signal.SIG_BLOCK, PARENT_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                for item in (self._selector, self._words, self._waked, self._waker):
                    item.close()
                become(kept.child, siblings, parent, told_by)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENT_SIGNALS)
        kept.started(pid, now)
        logger.info("started", child=kept.child.name, pid=pid)

    def _stop(self, code: int) -> None:
        """Asks every child to drain; a second signal is passed on too, and ends the API at once."""
        if self._code is None:
            self._code, self._kill_at_s = code, monotonic() + self._stop_within_s
            self._notifier.stopping()
        self._send(signal.SIGTERM)

    def _kill_the_rest(self) -> None:
        self._kill_at_s = None
        late = [kept.child.name for kept in self._kept if kept.pid is not None]
        logger.error("did not stop in time: killed", children=late)
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for kept in self._kept:
            if kept.pid is not None:
                os.kill(kept.pid, number)  # not yet collected, so the pid is its own

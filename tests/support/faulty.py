"""Runs a real service that stops itself at a chosen boundary of its work: SIGKILL leaves it no last word.

`python -m tests.support.faulty mailer`, with FAULT_STEP=before_data and FAULT_AFTER=25 in the environment: the
service passes that boundary 24 times and gets the signal at the 25th. A parent process that imported everything once
forks it and, after each SIGKILL, forks it again, armed anew FAULT_KILLS times in all. The boundaries are wrapped
around methods from outside; production code knows nothing of them. FAULT_SIGNAL=STOP freezes the process instead.
Each life begins with the line `life <pid>`, each SIGKILL ends in `killed <pid>`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import uvloop

from leadstream_api.server import serve
from leadstream_events import logs
from leadstream_events.log import StreamLog
from leadstream_events.runtime.committer import Committer
from leadstream_events.settings import load_settings
from leadstream_mail.smtp.outcome import Accepted
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mail.smtp.session import Session
from leadstream_mail.smtp.transaction import Step
from leadstream_mailer import fanout, service
from leadstream_mailer.attempting import _PhaseNote
from leadstream_mailer.sender import Sender
from leadstream_projections import service as projections
from leadstream_projections.app import ProjectionApp

Method = Callable[..., Any]


class Boundary:
    """Counts passings; at the last one the process gets its signal, in the middle of the statement."""

    def __init__(self, after: int, number: signal.Signals) -> None:
        self._left, self._signal = after, number

    def passed(self, count: int = 1) -> None:
        """One or several units of work have come this far."""
        if self._left > 0:
            self._left -= count
            if self._left <= 0:
                os.kill(os.getpid(), self._signal)


def _before(owner: type, name: str, hit: Callable[..., None]) -> None:
    """Calls `hit` with the method's arguments before the method."""
    real: Method = getattr(owner, name)

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        hit(self, *args, **kwargs)
        return real(self, *args, **kwargs)

    setattr(owner, name, wrapped)


def _after(owner: type, name: str, hit: Callable[[Any, tuple[Any, ...], Any], None]) -> None:
    """Calls `hit` with the object, the arguments and the result after the coroutine method."""
    real: Method = getattr(owner, name)

    async def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await real(self, *args, **kwargs)
        hit(self, args, result)
        return result

    setattr(owner, name, wrapped)


def _mail_read(at: Boundary) -> None:
    _before(Sender, "take", lambda _, deliveries: at.passed(len(deliveries)))


def _mail_begin(at: Boundary) -> None:
    _before(Sender, "_send", lambda *_: at.passed())


def _mail_connect(at: Boundary) -> None:
    _before(Session, "transmit", lambda *_: at.passed())


def _mail_rcpt(at: Boundary) -> None:
    def hit(_: Session, step: Step, __: object, code: int, ___: bytes) -> None:
        if step is Step.RCPT and code < 300:
            at.passed()

    _before(Session, "_replied", hit)


def _mail_before_data(at: Boundary) -> None:
    _after(_PhaseNote, "before_data", lambda _, __, ours: at.passed() if ours else None)


def _mail_after_data(at: Boundary) -> None:
    """The content has left, and its answer is in, but nobody has read it."""
    _before(Session, "_replied", lambda _, step, *__: at.passed() if step is Step.BODY else None)


def _mail_after_250(at: Boundary) -> None:
    _after(SmtpPool, "send", lambda _, __, outcome: at.passed() if isinstance(outcome, Accepted) else None)


def _committed(group: str) -> Callable[[Boundary], None]:
    def install(at: Boundary) -> None:
        def hit(committer: Any, args: tuple[Any, ...], _: Any) -> None:
            if committer._group.startswith(group):
                at.passed(sum(len(settlement.entry_ids) for settlement in args[0]))

        _after(Committer, "_commit", hit)

    return install


def _fanout_read(at: Boundary) -> None:
    _before(fanout.Fanout, "handle", lambda _, batch: at.passed(len(batch)))


def _fanout_reserved(at: Boundary) -> None:
    _after(fanout.Fanout, "_refused", lambda _, args, __: at.passed(len(args[0])))


def _fanout_before_commit(at: Boundary) -> None:
    _after(fanout.Fanout, "handle", lambda _, args, __: at.passed(len(args[0])))


def _quota_settled(at: Boundary) -> None:
    _after(fanout.Quota, "handle", lambda _, args, __: at.passed(len(args[0])))


def _projection_before_commit(at: Boundary) -> None:
    _after(ProjectionApp, "project", lambda _, args, __: at.passed(len(args[1].deliveries)))


def _appended(at: Boundary) -> None:
    _after(StreamLog, "append_lead", lambda *_: at.passed())


STEPS: dict[str, dict[str, Callable[[Boundary], None]]] = {
    "api": {"appended": _appended},
    "fanout": {
        "read": _fanout_read,
        "reserved": _fanout_reserved,
        "before_commit": _fanout_before_commit,
        "after_commit": _committed("fanout"),
        "quota_settled": _quota_settled,
    },
    "mailer": {
        "read": _mail_read,
        "begin": _mail_begin,
        "connect": _mail_connect,
        "rcpt": _mail_rcpt,
        "before_data": _mail_before_data,
        "after_data": _mail_after_data,
        "after_250": _mail_after_250,
        "after_commit": _committed("mailer"),
    },
    "projections": {
        "before_commit": _projection_before_commit,
        "after_commit": _committed("projections"),
    },
}

_RUNS = {"fanout": fanout.run, "mailer": service.run, "projections": projections.run}


def live(name: str, armed: bool) -> None:
    """One life of the service, until SIGTERM or its boundary."""
    number = getattr(signal, "SIG" + os.environ.get("FAULT_SIGNAL", "KILL"))
    if armed:
        STEPS[name][os.environ["FAULT_STEP"]](Boundary(int(os.environ["FAULT_AFTER"]), number))
    settings = load_settings()
    if name == "api":
        serve(settings)
        return
    logs.setup(settings.log_format, name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().add_signal_handler(signal.SIGUSR2, show_tasks)
        runner.run(_RUNS[name](settings))


def show_tasks() -> None:
    """Says on SIGUSR2 what every task waits for."""
    for task in asyncio.all_tasks():
        print(f"task {task.get_name()}, asked to end {task.cancelling()} times", file=sys.stderr)
        task.print_stack(limit=5, file=sys.stderr)
    print("end of tasks", file=sys.stderr, flush=True)


def supervise(name: str) -> int:
    """Forks the service and, after SIGKILL, forks it again; returns the exit code of its last life.

    SIGTERM goes on to the service. One that its boundary has just killed is not started again, and ended as asked.
    """
    child, ending = 0, False

    def forward(number: int, _: Any) -> None:
        nonlocal ending
        ending = True
        with contextlib.suppress(ProcessLookupError):
            if child:
                os.kill(child, number)

    signal.signal(signal.SIGTERM, forward)
    for life in range(1_000_000):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            print(f"life {os.getpid()}", flush=True)
            live(name, armed=life < int(os.environ.get("FAULT_KILLS", "1000000")))
            return 0
        if ending:  # asked for while it forked: this life has not heard of it
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            return os.waitstatus_to_exitcode(status)
        print(f"killed {child}", flush=True)
        if ending:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1]))

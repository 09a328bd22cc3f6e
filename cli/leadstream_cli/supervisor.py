"""Runs service processes that belong to this process, and starts each one again when it ends by itself.

No child outlives its supervisor, even when that is killed with SIGKILL (see `embedded_exec`). A child that refuses
its configuration is not restarted: everything stops, and `run` says why.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from leadstream_cli import embedded_exec
from leadstream_cli.errors_text import WRONG_USE
from leadstream_cli.readiness import VARIABLE, ReadyPipe
from leadstream_cli.restarts import backoff_s, failures_after, how_it_ended
from leadstream_cli.tailing import cancelled
from leadstream_events.errors import ConfigurationError, LeadstreamError

_LOOK_EVERY_S = 0.05
_LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True, slots=True)
class Part:
    """A process to keep running. `ready` is asked again and again until it says True.

    With `tells` the process must also say so itself (see `readiness`).
    """

    name: str
    args: tuple[str, ...]
    ready: Callable[[], Awaitable[bool]]
    tells: bool = True


@dataclass(slots=True)
class Supervisor:
    """Keeps parts running from `start` to `stop`. `log_dir` None lets children write to our stderr."""

    parts: Sequence[Part]
    env: Mapping[str, str]
    say: Callable[[str], None]
    log_dir: Path | None = None
    stop_within_s: float = 15.0
    failed: asyncio.Future[LeadstreamError] = field(init=False)
    _processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _owner_pipe: tuple[int, int] | None = None
    _told: dict[str, ReadyPipe] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.failed = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Starts every part; returns once each one was spawned. They are restarted from now on."""
        if not _LINUX:
            self._owner_pipe = os.pipe()
        for part in self.parts:
            self._processes[part.name] = await self._spawn(part)
            self._tasks.append(asyncio.create_task(self._keep(part), name=f"keep-{part.name}"))

    async def wait_ready(self, within_s: float) -> None:
        """Returns once every part is ready; `ConfigurationError` of a child or `LeadstreamError` after `within_s`."""
        waiting: dict[str, asyncio.Future[None]] = {
            part.name: asyncio.ensure_future(self._until_ready(part)) for part in self.parts
        }
        everybody: asyncio.Future[list[None]] = asyncio.gather(*waiting.values())
        try:
            await asyncio.wait((everybody, self.failed), timeout=within_s, return_when="FIRST_COMPLETED")
            if self.failed.done():
                raise self.failed.result()
            late = [name for name, task in waiting.items() if not task.done()]
            if late:
                raise LeadstreamError(f"not ready after {within_s:g} s: {', '.join(late)}")
            await everybody
        finally:
            everybody.cancel()
            await asyncio.gather(everybody, return_exceptions=True)

    async def stop(self) -> None:
        """Asks all parts to end (SIGTERM), and kills those that take longer than `stop_within_s`."""
        self._stopping.set()
        for process in self._processes.values():
            _signal(process, signal.SIGTERM)
        ends = [asyncio.create_task(process.wait()) for process in self._processes.values()]
        if ends:
            await asyncio.wait(ends, timeout=self.stop_within_s)
        for name, process in self._processes.items():
            if process.returncode is None:
                self.say(f"{name} did not stop in {self.stop_within_s:g} s: killed")
                _signal(process, signal.SIGKILL)
        await asyncio.gather(*ends, *self._tasks, return_exceptions=True)
        for end in self._owner_pipe or ():
            os.close(end)
        self._owner_pipe = None
        while self._told:
            self._told.popitem()[1].close()

    def pid_of(self, name: str) -> int:
        """The process id of a part."""
        return self._processes[name].pid

    async def _until_ready(self, part: Part) -> None:
        # Another process has no event to wait for. On Python 3.11 redis-py may swallow a cancellation.
        while not ((not part.tells or self._told[part.name].told()) and await part.ready()) and not cancelled():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _keep(self, part: Part) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            started_s = loop.time()
            code = await self._processes[part.name].wait()
            if self._stopping.is_set():
                return
            if code == WRONG_USE:
                self._give_up(ConfigurationError(f"{part.name} refuses its configuration{self._hint(part)}"))
                return
            failures = failures_after(failures, loop.time() - started_s)
            pause_s = backoff_s(failures)
            self.say(f"{part.name} {how_it_ended(code)}; restarting it in {pause_s:g} s{self._hint(part)}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            if self._stopping.is_set():
                return
            self._processes[part.name] = await self._spawn(part)
            self.say(f"{part.name} restarted, process {self.pid_of(part.name)}")

    def _give_up(self, error: LeadstreamError) -> None:
        if not self.failed.done():
            self.failed.set_result(error)

    def _hint(self, part: Part) -> str:
        return f" (see {self.log_dir / part.name}.log)" if self.log_dir else ""

    async def _spawn(self, part: Part) -> asyncio.subprocess.Process:
        # Spawned from the main thread, which lives as long as we do: the kernel ties the death signal to the thread.
        read_end = self._owner_pipe[0] if self._owner_pipe else -1
        lock = os.open(os.devnull, os.O_RDONLY)
        log = self._open_log(part)
        told = ReadyPipe()
        if part.name in self._told:
            self._told[part.name].close()
        self._told[part.name] = told
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", embedded_exec.__file__, str(os.getpid()), str(lock), str(read_end)),
                *(sys.executable, "-P", "-m", "leadstream_cli.main", *part.args),
                env={**self.env, VARIABLE: str(told.write_end)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock, told.write_end, *([read_end] if read_end >= 0 else [])],
                start_new_session=True,  # Ctrl-C comes to us alone: we decide who stops when
            )
        finally:
            os.close(lock)
            told.handed_over()
            if self.log_dir:
                os.close(log)

    def _open_log(self, part: Part) -> int:
        if self.log_dir is None:
            return sys.stderr.fileno()
        return os.open(self.log_dir / f"{part.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)

"""Runs a leadstream service as a process of its own, the way a container or a unit runs it.

The process sees only the environment that the test gives, its output goes to a file that failures quote, and it is
killed when the test ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.support.waiting import DEADLINE_S, eventually_sync

_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "SYSTEMROOT")
_TAIL_CHARS = 4_000


class ServiceProcess:
    """`leadstream <args>` as a process. Use `start`, or a `with` block, which kills what is left at its end.

    Ready means: the output holds `ready_line`, or `ready_url` answers 200, or, with neither, that it was started.
    `module` is what `python -m` runs.
    """

    def __init__(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        output: Path,
        ready_line: str | None = None,
        ready_url: str | None = None,
        module: str = "leadstream_cli.main",
        cwd: Path | None = None,
    ) -> None:
        self.args = tuple(args)
        self.output = output
        self._env = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | dict(env)
        self._ready_line = ready_line
        self._ready_url = ready_url
        self._command = [sys.executable, "-m", module, *args]
        self._cwd = cwd or output.parent
        self._process: subprocess.Popen[bytes] | None = None
        self._output_from = 0

    def start(self, within_s: float = DEADLINE_S) -> ServiceProcess:
        """Starts the process and returns once it is ready; fails with its output when it ends before."""
        assert not self.alive(), "the process runs already"
        self._output_from = self.output.stat().st_size if self.output.exists() else 0
        with self.output.open("ab") as sink:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            eventually_sync(self._is_ready, f"{self} to be ready", within_s)
        except BaseException as error:
            self.kill()
            error.add_note(f"its output:\n{self.text()[-_TAIL_CHARS:]}")
            raise
        return self

    @property
    def pid(self) -> int:
        """The id of the latest process."""
        assert self._process is not None, "the process was never started"
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code of the latest process, negative for a signal, None while it runs."""
        return self._process.poll() if self._process else None

    def alive(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.poll() is None

    def text(self) -> str:
        """What the latest process wrote so far."""
        with self.output.open("rb") as source:
            source.seek(self._output_from)
            return source.read().decode("utf-8", "replace")

    def wait(self, within_s: float = DEADLINE_S) -> int:
        """Waits until the process ends by itself and returns its exit code."""
        assert self._process is not None, "the process was never started"
        return self._process.wait(within_s)

    def terminate(self, within_s: float = DEADLINE_S) -> int:
        """Sends SIGTERM and returns the exit code; a process that does not end in time is killed and is a failure."""
        assert self._process is not None, "the process was never started"
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self} ignored SIGTERM for {within_s:g} s:\n{self.text()[-_TAIL_CHARS:]}") from None

    def kill(self) -> None:
        """Sends SIGKILL and waits for the end; does nothing to a process that ended already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self, within_s: float = DEADLINE_S) -> ServiceProcess:
        """Starts the same command again, after SIGKILL if it still runs."""
        self.kill()
        return self.start(within_s)

    def _is_ready(self) -> bool:
        ready = self._looks_ready()
        if not ready and not self.alive():
            raise AssertionError(f"{self} ended with exit code {self.returncode} before it was ready")
        return ready

    def _looks_ready(self) -> bool:
        if self._ready_line is not None:
            return self._ready_line in self.text()
        if self._ready_url is not None:
            return answers_ok(self._ready_url)
        return True

    def __str__(self) -> str:
        return f"leadstream {' '.join(self.args)}"

    def __enter__(self) -> ServiceProcess:
        return self if self.alive() else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def answers_ok(url: str) -> bool:
    """True when a GET of the URL gives status 200 within a second; proxies of the environment are not used."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False

"""A service that stops itself at a boundary (`tests/support/faulty.py`), seen from the test."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.support.process import ServiceProcess
from tests.support.waiting import DEADLINE_S, eventually_sync


class FaultyProcess(ServiceProcess):
    """A service under `tests.support.faulty`: parent and child share a process group and end together."""

    def kill(self) -> None:
        """SIGKILL to the parent and to the service it forked."""
        if self.alive():
            os.killpg(self.pid, signal.SIGKILL)
        super().kill()

    def terminate(self, within_s: float = DEADLINE_S) -> int:
        """Like its base; a service that does not end says first what its tasks wait for."""
        assert self._process is not None, "the process was never started"
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            os.kill(self.child(), signal.SIGUSR2)
            eventually_sync(lambda: "end of tasks" in self.text(), "the list of tasks")
            self.kill()
            raise AssertionError(f"{self} ignored SIGTERM:\n{self.text()[-20_000:]}") from None

    def kills(self) -> int:
        """How often the service killed itself so far."""
        return sum(line.startswith("killed ") for line in self.text().splitlines())

    def child(self) -> int:
        """The process id of the service's present life; 0 before its first."""
        lives = [line for line in self.text().splitlines() if line.startswith("life ")]
        return int(lives[-1].split()[1]) if lives else 0

    def frozen(self) -> bool:
        """True when the service has stopped itself with SIGSTOP."""
        child = self.child()
        return bool(child) and Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "T"

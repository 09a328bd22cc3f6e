"""The bounce receiver, dying by SIGKILL when Redis has the report and the mail server has no answer yet."""

from __future__ import annotations

import os
import signal
import sys

from leadstream_bounces import __main__
from leadstream_bounces.intake import Intake, Taken
from leadstream_bounces.proofs import Incoming

_take = Intake.take


async def _take_and_die(self: Intake, mail: Incoming) -> Taken:
    await _take(self, mail)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


if __name__ == "__main__":
    Intake.take = _take_and_die  # type: ignore[method-assign]
    sys.exit(__main__.main())

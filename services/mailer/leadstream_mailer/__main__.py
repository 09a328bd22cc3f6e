"""`python -m leadstream_mailer [mailer|fanout]`: one of the two services, configured by the environment."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leadstream_events.runtime import process
from leadstream_mailer import fanout, service

_RUNS: dict[str, process.Run] = {"mailer": service.run, "fanout": fanout.run}


def main(args: Sequence[str]) -> int:
    """Returns the exit code: 0 after a drain, 2 on a wrong setting or argument."""
    name = args[0] if args else "mailer"
    if len(args) > 1 or name not in _RUNS:
        sys.stderr.write(f"usage: python -m leadstream_mailer [{'|'.join(_RUNS)}]\n")
        return process.WRONG_USE
    return process.main(name, lambda settings: process.serve(name, settings, _RUNS[name]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m leadstream_archiver`: the service without the command line, configured by the environment."""

from __future__ import annotations

import sys

from leadstream_archiver.service import SERVICE, run
from leadstream_events.runtime import process


def main() -> int:
    """Returns the exit code: 0 after a drain, 2 on a wrong setting."""
    return process.main(SERVICE, lambda settings: process.serve(SERVICE, settings, run))


if __name__ == "__main__":
    sys.exit(main())

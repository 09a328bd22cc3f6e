"""`python -m leadstream_bounces`: the bounce receiver, configured by the environment."""

from __future__ import annotations

import sys

from leadstream_bounces import service
from leadstream_events.runtime import process


def main() -> int:
    """Returns the exit code: 0 after a drain, 2 on a wrong setting."""
    return process.main("bounces", lambda settings: process.serve("bounces", settings, service.run))


if __name__ == "__main__":
    sys.exit(main())

"""`python -m leadstream_api`: the API without the command line, configured by the environment."""

from __future__ import annotations

import sys

from leadstream_api.server import serve
from leadstream_events.runtime import process


def main() -> int:
    """Returns the exit code: 0 after SIGTERM, 2 on a wrong setting."""
    return process.main("api", serve)


if __name__ == "__main__":
    sys.exit(main())

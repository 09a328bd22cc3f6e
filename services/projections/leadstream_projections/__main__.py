"""`python -m leadstream_projections`: the service without the command line, configured by the environment."""

from __future__ import annotations

import sys

import uvloop

from leadstream_events import logs
from leadstream_events.errors import ConfigurationError
from leadstream_events.settings import load_settings
from leadstream_projections.service import SERVICE, run


def main() -> int:
    """Returns the exit code: 0 after a drain, 2 on a wrong setting."""
    try:
        settings = load_settings()
        logs.setup(settings.log_format, SERVICE)
        uvloop.run(run(settings))
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

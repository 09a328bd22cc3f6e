"""Health check of a container: exit code 0 while the service inside works, else 1 and one line why.

`healthcheck.py http` asks the API on this machine; `healthcheck.py heartbeat` looks at the age of the file that a
worker touches every few seconds. Uses the standard library alone and starts in tens of milliseconds:
`python -I -S healthcheck.py http`.
"""

from __future__ import annotations

import http.client
import os
import sys
import time
from pathlib import Path

TIMEOUT_S = 3.0
OLDEST_S = 30.0


def ask_api(port: int) -> str | None:
    """None when the API says that it lives, else why not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"the API on port {port} does not answer: {type(error).__name__}"
    finally:
        connection.close()
    return None if status == 200 else f"the API on port {port} answers {status}"


def look_at_heartbeat(path: str, now: float) -> str | None:
    """None when the file is new enough, else why not."""
    try:
        age_s = now - Path(path).stat().st_mtime
    except OSError as error:
        return f"no heartbeat: {path}: {error.strerror}"
    return None if age_s <= OLDEST_S else f"the last heartbeat is {age_s:.0f} s old"


def main(args: list[str]) -> int:
    """Returns the exit code."""
    if args == ["http"]:
        trouble = ask_api(int(os.environ.get("LEADSTREAM_API_PORT", "8000")))
    elif args == ["heartbeat"]:
        trouble = look_at_heartbeat(os.environ.get("LEADSTREAM_HEARTBEAT_FILE", ""), time.time())
    else:
        trouble = "usage: healthcheck.py http|heartbeat"
    if trouble is not None:
        sys.stderr.write(trouble + "\n")
    return 0 if trouble is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

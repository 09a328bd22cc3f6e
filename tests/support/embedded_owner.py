"""A process that owns an embedded server until it is killed: `python -m tests.support.embedded_owner DIR BINARY TIE`.

Prints the server's pid and address on one line, then waits for ever. The server is started from a thread that ends
at once, since that is how a service starts it, and the kernel ties a death signal to the thread.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from leadstream_cli.embedded import EmbeddedServer


def main() -> None:
    data_dir, binary, tie = sys.argv[1:]
    servers: list[EmbeddedServer] = []

    def start() -> None:
        servers.append(
            EmbeddedServer.start(Path(data_dir), binary=Path(binary), appendfsync="always", watchdog=tie == "watchdog")
        )

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    print(f"owned {servers[0].pid} {servers[0].url}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()

"""The API as a process on a free port, configured by the environment alone."""

from __future__ import annotations

from leadstream_api.server import serve
from leadstream_events.settings import load_settings

if __name__ == "__main__":
    serve(load_settings(api_port=0))

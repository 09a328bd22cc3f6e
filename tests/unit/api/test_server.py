"""Where the API may listen."""

from __future__ import annotations

import socket

import pytest

from leadstream_api.server import listen, require_safe_bind
from leadstream_events.errors import ConfigurationError
from leadstream_events.settings import Settings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_without_keys_only_loopback_is_taken_and_the_error_names_the_setting(host: str) -> None:
    with pytest.raises(ConfigurationError, match="LEADSTREAM_API_KEYS_FILE"):
        require_safe_bind(Settings(), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    require_safe_bind(Settings(), host)


def test_a_port_in_use_is_a_configuration_error_that_names_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="LEADSTREAM_API_PORT"):
            listen("127.0.0.1", taken.getsockname()[1])

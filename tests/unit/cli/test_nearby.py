"""Which addresses are on this machine."""

from __future__ import annotations

import pytest

from leadstream_cli.nearby import elsewhere


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://127.0.0.1:6379/0", False),
        ("rediss://user:p%40ss@localhost:6379/0", False),
        ("redis://[::1]:6379/0", False),
        ("unix:///run/redis.sock?db=1", False),
        ("redis+sentinel://127.0.0.1:1,127.0.0.2:2/service/0", False),
        ("redis+sentinel://127.0.0.1:1,redis.example.com:2/service/0", True),
        ("redis+cluster://10.0.0.1:7000", True),
        ("smtp+starttls://me@localhost:secret@mail.example.com:587", True),
        ("smtps://127.0.0.1.example.com", True),
        ("http://0.0.0.0", True),
        ("http://[::]", True),
        ("", False),
    ],
)
def test_what_is_not_on_this_machine(url: str, expected: bool) -> None:
    assert elsewhere(url) is expected

"""The command as the tests of the command line run it."""

from __future__ import annotations

from tests.integration.cli.conftest import cli

__all__ = ["cli"]

"""How many examples a fuzz test tries: few in the suite, many under `--hypothesis-profile=fuzz`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def depth(usual: int, fuzz: int) -> settings:
    """Settings for one test; slow generation of hostile input is no fault of the test."""
    thorough = settings.get_current_profile_name() == "fuzz"
    return settings(
        max_examples=fuzz if thorough else usual, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )

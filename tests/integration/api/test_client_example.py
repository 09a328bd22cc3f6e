"""The client that a Django site takes along: `examples/django/leadstream_client.py` against a real API."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.waiting import DEADLINE_S

FILE = Path(__file__).parents[3] / "examples/django/leadstream_client.py"


@pytest.fixture
def client() -> Any:
    spec = importlib.util.spec_from_file_location("leadstream_client", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_lead_is_handed_in_and_a_wrong_one_is_refused_by_its_field(
    client: Any, api_process: Callable[..., tuple[ServiceProcess, str]], redis_url: str
) -> None:
    _, url = api_process(redis_url)
    lead_id = client.submit({"full_name": "Ada", "email": "ada@example.com"}, url=url)
    shown = httpx.get(f"{url}/leads/{lead_id}", trust_env=False, timeout=DEADLINE_S).json()
    assert shown["lead"]["full_name"] == "Ada"
    with pytest.raises(ValueError) as caught:
        client.submit({"full_name": "Ada", "email": "nobody"}, url=url)
    assert [each["field"] for each in caught.value.args[0]["errors"]] == ["email"]


def test_an_api_that_is_not_there_is_an_os_error_after_all_tries(client: Any) -> None:
    with pytest.raises(OSError):
        client.submit({}, url=f"http://127.0.0.1:{free_port()}", tries=1)

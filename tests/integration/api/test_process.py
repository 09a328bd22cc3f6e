"""The API as a process: when it is ready, how it ends, and what uvicorn itself must not get wrong."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from leadstream_api import limits
from leadstream_events.settings import load_settings
from tests.integration.api.conftest import LEAD
from tests.support.process import ServiceProcess
from tests.support.redis_server import ServerFactory
from tests.support.waiting import DEADLINE_S

Start = Callable[..., tuple[ServiceProcess, str]]


def test_the_ready_line_means_that_connections_are_taken_and_sigterm_ends_with_0(
    api_process: Start, redis_url: str
) -> None:
    process, url = api_process(redis_url)
    assert httpx.get(f"{url}/health/ready", trust_env=False, timeout=DEADLINE_S).status_code == 200
    assert httpx.post(f"{url}/leads", json=LEAD, trust_env=False, timeout=DEADLINE_S).status_code == 202
    assert process.terminate() == 0


def test_sigterm_ends_with_0_while_redis_is_down(api_process: Start, fresh_server: ServerFactory) -> None:
    """docs/cases.md, case 129."""
    server = fresh_server()
    process, url = api_process(server.url, LEADSTREAM_APPEND_DEADLINE="500ms")
    with httpx.Client(base_url=url, trust_env=False, timeout=DEADLINE_S) as client:
        assert client.post("/leads", json=LEAD).status_code == 202
        server.stop()
        assert client.post("/leads", json=LEAD).json()["mode"] == "fallback"
        assert process.terminate(within_s=10) == 0


def test_log_lines_hold_no_personal_data(api_process: Start, redis_url: str) -> None:
    process, url = api_process(redis_url, LEADSTREAM_LOG_FORMAT="json")
    for body in (LEAD, LEAD | {"city": "a\nb"}, {"full_name": "Dana"}):
        httpx.post(f"{url}/leads", json=body, trust_env=False, timeout=DEADLINE_S)
    httpx.get(f"{url}/leads/dana@example.com", trust_env=False, timeout=DEADLINE_S)
    process.terminate()
    assert "dana" not in process.text().lower()


def _raw_exchange(url: str, request: bytes) -> bytes:
    """Sends bytes and returns all that is answered until the server closes the connection."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(request)
        answer = b""
        while chunk := sock.recv(65_536):
            answer += chunk
        return answer


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 104857600\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"40400\r\n" + b" " * 0x40400 + b"\r\n"),
    ],
    ids=["declared", "chunked without an end"],
)
def test_a_body_over_the_limit_is_answered_and_not_read_to_its_end(
    api_process: Start, redis_url: str, head: bytes, body: bytes
) -> None:
    _, url = api_process(redis_url)
    assert len(body) == 0 or len(body) > limits.LEAD_BYTES
    answer = _raw_exchange(
        url, b"POST /leads HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + head + b"\r\n" + body
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


ODD_REQUESTS = (
    b"GET /\xff\xfe HTTP/1.1",
    b"GET /leads?\xff=\xff HTTP/1.1",
    b"GET /leads/%00%ff%2f HTTP/1.1",
    b"GET //leads// HTTP/1.1",
    b"GET /leads/" + b"a" * 20_000 + b" HTTP/1.1",
    b"GET * HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET http://other.example/leads/x HTTP/1.1",
    b"BREW /leads HTTP/1.1",
    b"GET /leads HTTP/9.9",
    b"\x16\x03\x01",
)
ODD_HOSTS = (b"a", b"", b"\xff", b"a b", b"[::1", b"a" * 20_000)


def test_odd_request_lines_and_hosts_never_give_a_500(api_process: Start, redis_url: str) -> None:
    _, url = api_process(redis_url)
    for request_line, host in itertools.product(ODD_REQUESTS, ODD_HOSTS):
        answer = _raw_exchange(url, request_line + b"\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 "), (request_line, host)
        assert int(answer.split(b" ")[1]) < 500, (request_line, host)


def test_huge_headers_never_give_a_500(api_process: Start, redis_url: str) -> None:
    _, url = api_process(redis_url)
    huge = "x" * 100_000
    headers = {
        "idempotency-key": huge,
        "traceparent": huge,
        "accept": huge,
        "content-type": f"application/json; a={huge}",
    }
    answer = httpx.post(f"{url}/leads", json=LEAD, headers=headers, trust_env=False, timeout=DEADLINE_S)
    assert answer.status_code == 400
    answer = httpx.post(f"{url}/leads", json=LEAD, headers={"content-type": huge}, trust_env=False, timeout=DEADLINE_S)
    assert answer.status_code == 415


def test_head_answers_like_get_without_a_body(api_process: Start, redis_url: str) -> None:
    _, url = api_process(redis_url)
    for path, status in (("/leads", 200), ("/nope", 404), ("/metrics", 200)):
        answer = httpx.head(f"{url}{path}", trust_env=False)
        assert (answer.status_code, answer.content) == (status, b"")


def test_a_bind_that_others_could_reach_is_refused_without_keys(tmp_path: Path) -> None:
    process = ServiceProcess(
        [],
        env={"LEADSTREAM_API_HOST": "0.0.0.0", "LEADSTREAM_CONFIG": str(tmp_path / "absent.toml")},
        output=tmp_path / "api.log",
        module="tests.integration.api.api_process",
        cwd=Path(__file__).parents[3],
    )
    with process:
        assert process.wait() != 0
    assert "LEADSTREAM_API_KEYS_FILE" in process.text()
    assert load_settings().api_host == "127.0.0.1"

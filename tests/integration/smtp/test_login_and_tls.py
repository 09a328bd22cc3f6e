"""Credentials and leads never leave in the clear where TLS is asked for, and a failed login is no mail's fault."""

from __future__ import annotations

import ssl

import pytest

from leadstream_events.errors import Transient
from leadstream_mail.smtp.outcome import Accepted, Unreachable
from tests.integration.smtp.conftest import MakeRig
from tests.support.smtp_server import Fault, Reply, Script

PASSWORD = "p/:@ %ä"


async def test_starttls_that_is_not_offered_ends_the_session_before_anything_is_told(rig: MakeRig) -> None:
    """Case 053."""
    smtp = await rig(Script(users={"u": "secret"}), url={"scheme": "smtp+starttls", "user": "u:secret"})
    outcome = await smtp.send()
    assert isinstance(outcome, Unreachable)
    assert outcome.failure.cause == "tls_not_offered"
    await smtp.server.wait_until(lambda: not smtp.server.open)
    assert smtp.server.commands() == [b"EHLO", b"QUIT"]


async def test_a_refused_starttls_ends_the_session(rig: MakeRig, server_tls: ssl.SSLContext) -> None:
    script = Script(tls=server_tls, faults=[Fault("starttls", Reply(454, "4.7.0 not now"))])
    smtp = await rig(script, url={"scheme": "smtp+starttls"})
    outcome = await smtp.send()
    assert isinstance(outcome, Unreachable)
    assert (outcome.failure.cause, outcome.failure.code) == ("tls_failed", 454)
    await smtp.server.wait_until(lambda: not smtp.server.open)
    assert smtp.server.commands() == [b"EHLO", b"STARTTLS", b"QUIT"]


@pytest.mark.parametrize("implicit", [False, True])
async def test_mail_goes_over_tls_with_a_trusted_certificate(
    rig: MakeRig, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, implicit: bool
) -> None:
    script = Script(tls=server_tls, implicit_tls=implicit, users={"u": "secret"})
    url = {"scheme": "smtps" if implicit else "smtp+starttls", "user": "u:secret"}
    smtp = await rig(script, url=url, tls_context=client_tls)
    assert isinstance(await smtp.send(1), Accepted)
    assert isinstance(await smtp.send(2), Accepted)
    assert smtp.server.connections == 1
    before_login = [] if implicit else [b"EHLO", b"STARTTLS"]
    assert smtp.server.commands()[: len(before_login) + 3] == [*before_login, b"EHLO", b"AUTH", b"MAIL"]


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_that_nobody_vouches_for_ends_the_session(
    rig: MakeRig, server_tls: ssl.SSLContext, implicit: bool
) -> None:
    script = Script(tls=server_tls, implicit_tls=implicit, users={"u": "secret"})
    smtp = await rig(script, url={"scheme": "smtps" if implicit else "smtp+starttls", "user": "u:secret"})
    outcome = await smtp.send()
    assert isinstance(outcome, Unreachable)
    assert outcome.failure.cause == "tls_failed"
    assert not {b"AUTH", b"MAIL"} & set(smtp.server.commands())


@pytest.mark.parametrize("methods", ["PLAIN LOGIN", "LOGIN", "CRAM-MD5 PLAIN"])
async def test_a_percent_encoded_password_logs_in_by_what_the_server_offers(rig: MakeRig, methods: str) -> None:
    script = Script(users={"a@b": PASSWORD}, auth_methods=methods)
    smtp = await rig(script, url={"user": "a%40b:p%2F%3A%40%20%25%C3%A4"})
    assert isinstance(await smtp.send(), Accepted)


async def test_a_wrong_password_is_unreachable_and_asks_for_a_long_pause(rig: MakeRig) -> None:
    smtp = await rig(Script(users={"u": "right"}), url={"user": "u:wrong"})
    outcome = await smtp.send()
    assert isinstance(outcome, Unreachable)
    assert (outcome.failure.cause, outcome.failure.code, outcome.failure.permanent) == ("auth_failed", 535, False)
    assert outcome.pause_s >= 30.0
    assert b"MAIL" not in smtp.server.commands()


async def test_a_server_without_login_is_unreachable_when_a_login_is_configured(rig: MakeRig) -> None:
    smtp = await rig(url={"user": "u:p"})
    outcome = await smtp.send()
    assert isinstance(outcome, Unreachable)
    assert outcome.failure.cause == "auth_not_offered"


async def test_a_refused_token_is_asked_for_once_more_on_a_new_connection(rig: MakeRig) -> None:
    """Case 055: the 334 challenge is answered with an empty line."""
    tokens = iter(["stale", "good"])

    async def token() -> str:
        return next(tokens)

    script = Script(tokens={"me@example.com": "good"})
    smtp = await rig(script, url={"user": "me%40example.com", "query": "auth=xoauth2"}, xoauth2_token=token)
    assert isinstance(await smtp.send(), Accepted)
    assert smtp.server.connections == 2
    assert (1, b"") in smtp.server.wire


async def test_a_token_that_stays_refused_is_auth_failed_with_the_real_reply(rig: MakeRig) -> None:
    """Case 055."""
    smtp = await rig(Script(tokens={"u": "good"}), url={"user": "u:bad", "query": "auth=xoauth2"})
    outcome = await smtp.send()
    assert isinstance(outcome, Unreachable)
    said = outcome.failure
    assert (said.cause, said.code, said.enhanced) == ("auth_failed", 535, "5.7.8")
    assert said.line == "5.7.8 Username and Password not accepted"
    assert smtp.pool.state.open == 0


async def test_a_token_source_that_is_down_is_no_mails_fault(rig: MakeRig) -> None:
    async def token() -> str:
        raise Transient("token service", 5.0)

    smtp = await rig(Script(tokens={"u": "x"}), url={"user": "u", "query": "auth=xoauth2"}, xoauth2_token=token)
    outcome = await smtp.send()
    assert isinstance(outcome, Unreachable)
    assert outcome.failure.cause == "token_unavailable"

"""Opens a session: connect, banner, EHLO, TLS, AUTH. Whatever goes wrong here is never a mail's fault.

With `smtp+starttls://` nothing but EHLO, STARTTLS and QUIT is on the wire until TLS stands and the certificate
holds (case 053).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from typing import cast

import aiosmtplib

from leadstream_mail.smtp.endpoint import Endpoint, Tls
from leadstream_mail.smtp.outcome import Cause, Phase, Unreachable, from_reply, unreachable
from leadstream_mail.smtp.session import Session
from leadstream_mail.smtp.transaction import SessionFailed

_QUIT_TIMEOUT_S = 2.0


async def open_session(
    endpoint: Endpoint,
    secret: str | None,
    tls_context: ssl.SSLContext | None,
    timeout_s: float,
    data_timeout_s: float,
) -> Session:
    """Returns a session ready for MAIL; raises `SessionFailed` with `Unreachable`. `secret`: password or token."""
    client = aiosmtplib.SMTP(
        hostname=endpoint.host,
        port=endpoint.port,
        timeout=timeout_s,
        use_tls=endpoint.tls is Tls.IMPLICIT,
        start_tls=False,  # done below, where the phase is known
        tls_context=tls_context,
        local_hostname="localhost",  # unused: EHLO gets the address of the connected socket
    )
    try:
        await _connect(client)
        await _greet(client, endpoint)
        if endpoint.tls is Tls.STARTTLS:
            await _start_tls(client, endpoint, tls_context)
        if endpoint.user is not None:
            await _log_in(client, endpoint, endpoint.user, secret or "")
    except SessionFailed:
        if client.is_connected:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=min(_QUIT_TIMEOUT_S, timeout_s))
        client.close()
        raise
    except BaseException:
        client.close()
        raise
    return Session(_taken_over(client), client.esmtp_extensions, timeout_s, data_timeout_s)


def _taken_over(client: aiosmtplib.SMTP) -> asyncio.Transport:
    """The open connection: aiosmtplib has said all that it says one command at a time."""
    transport = client.transport
    if transport is None or transport.is_closing():
        raise SessionFailed(unreachable(Phase.EHLO, Cause.LOST))
    return cast(asyncio.Transport, transport)


def lost_cause(error: Exception) -> Cause:
    """The label for an error of aiosmtplib or the socket that carries no reply."""
    if isinstance(error, TimeoutError):
        return Cause.TIMEOUT
    return Cause.GARBLED if isinstance(error, aiosmtplib.SMTPResponseException) else Cause.LOST


async def _connect(client: aiosmtplib.SMTP) -> None:
    try:
        await client.connect()
    except aiosmtplib.SMTPConnectResponseError as error:
        raise _replied(Phase.BANNER, "", error) from None
    except aiosmtplib.SMTPResponseException:
        raise SessionFailed(unreachable(Phase.BANNER, Cause.GARBLED)) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise SessionFailed(_no_connection(error)) from None


def _no_connection(error: Exception) -> Unreachable:
    reason = error.__cause__ or error
    if isinstance(reason, socket.gaierror):  # of our own relay, so never permanent whatever its code (case 063)
        return unreachable(Phase.CONNECT, Cause.DNS)
    if isinstance(reason, ssl.SSLError):
        return unreachable(Phase.TLS, Cause.TLS_FAILED, reason.reason or "")
    if isinstance(error, TimeoutError):
        return unreachable(Phase.CONNECT, Cause.TIMEOUT)
    if isinstance(reason, aiosmtplib.SMTPServerDisconnected):
        return unreachable(Phase.BANNER, Cause.LOST)
    return unreachable(Phase.CONNECT, Cause.CONNECT)


async def _greet(client: aiosmtplib.SMTP, endpoint: Endpoint) -> None:
    """EHLO, or HELO for servers that know nothing newer and need neither TLS nor AUTH (RFC 5321 section 3.2)."""
    name = _own_name(client)
    try:
        await client.ehlo(hostname=name)
    except aiosmtplib.SMTPHeloError as error:
        plain = endpoint.tls is Tls.NONE and endpoint.user is None
        if not plain or error.code not in (500, 502, 504) or not client.is_connected:
            raise _replied(Phase.EHLO, "EHLO", error) from None
        await _old_greeting(client, name)
    except (aiosmtplib.SMTPException, OSError) as error:
        raise SessionFailed(unreachable(Phase.EHLO, lost_cause(error))) from None


async def _old_greeting(client: aiosmtplib.SMTP, name: str) -> None:
    try:
        await client.helo(hostname=name)
    except aiosmtplib.SMTPHeloError as error:
        raise _replied(Phase.EHLO, "HELO", error) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise SessionFailed(unreachable(Phase.EHLO, lost_cause(error))) from None


def _own_name(client: aiosmtplib.SMTP) -> str:
    """Our address as a literal (RFC 5321 section 4.1.3): true everywhere and needs no name service."""
    try:
        host = str(client.get_transport_info("sockname")[0]).partition("%")[0]
        address = ipaddress.ip_address(host)
    except (aiosmtplib.SMTPServerDisconnected, ValueError, TypeError, IndexError):
        return "localhost"
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


async def _start_tls(client: aiosmtplib.SMTP, endpoint: Endpoint, context: ssl.SSLContext | None) -> None:
    if not client.supports_extension("starttls"):
        raise SessionFailed(unreachable(Phase.TLS, Cause.TLS_NOT_OFFERED))
    try:
        await client.starttls(tls_context=context)
    except aiosmtplib.SMTPResponseException as error:
        raise _replied(Phase.TLS, "STARTTLS", error) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        client.close()  # half-way into TLS nothing more can be said
        reason = error.reason if isinstance(error, ssl.SSLError) else ""
        raise SessionFailed(unreachable(Phase.TLS, Cause.TLS_FAILED, reason or "")) from None
    await _greet(client, endpoint)


async def _log_in(client: aiosmtplib.SMTP, endpoint: Endpoint, user: str, secret: str) -> None:
    offered = client.server_auth_methods
    try:
        if endpoint.xoauth2 and "xoauth2" in offered:
            await client.auth_xoauth2(user, secret)  # answers the 334 of a refusal with an empty line (case 055)
        elif not endpoint.xoauth2 and "plain" in offered:
            await client.auth_plain(user, secret)
        elif not endpoint.xoauth2 and "login" in offered:
            await client.auth_login(user, secret)
        else:
            raise SessionFailed(unreachable(Phase.AUTH, Cause.AUTH_NOT_OFFERED))
    except aiosmtplib.SMTPResponseException as error:
        raise _replied(Phase.AUTH, "AUTH", error) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise SessionFailed(unreachable(Phase.AUTH, lost_cause(error))) from None


def _replied(phase: Phase, command: str, error: aiosmtplib.SMTPResponseException) -> SessionFailed:
    if not 400 <= error.code < 600:
        return SessionFailed(unreachable(phase, Cause.GARBLED))
    return SessionFailed(from_reply(phase, command, error.code, error.message, fresh=True))

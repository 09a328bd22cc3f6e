"""`doctor`: looks at all that leadstream needs, changes nothing that lasts, and says how to mend what is wrong."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from leadstream_cli import doctor_checks as checks
from leadstream_cli.connection import find_public_url, find_redis_url, redis_client
from leadstream_cli.doctor_checks import Finding, Verdict
from leadstream_cli.doctor_user import redis_user
from leadstream_cli.errors_text import CHECK_FAILED, explain, say
from leadstream_cli.output import Output, emit_json, output_options, printable
from leadstream_events.errors import ConfigurationError

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client
    from leadstream_events.settings import Settings

_KEYS_LOOKED_AT = 1_000
_WRITE_TTL_MS = 10_000
_DNS_PORT = 53


def _dns_server(_: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    host, port = value.split(":") if value.count(":") == 1 else (value, "")
    try:
        return str(ip_address(host)), int(port or _DNS_PORT)
    except ValueError:
        raise click.BadParameter("must be an address, such as 192.0.2.1 or 192.0.2.1:53", param=parameter) from None


@click.command()
@click.option("--dns", is_flag=True, help="Also the SPF, DKIM and DMARC records of the sending domain.")
@click.option("--dns-server", metavar="HOST[:PORT]", callback=_dns_server, help="Ask this server, not the system's.")
@output_options
def doctor(dns: bool, dns_server: tuple[str, int] | None, out: Output) -> None:
    """Check Redis, SMTP, clocks and configuration; each finding with its mend. Exit code 3 when something is wrong."""
    findings = asyncio.run(_examine(dns or dns_server is not None, dns_server))
    if out.as_json:
        emit_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(printable(f"{finding.verdict.value:<8} {finding.check:<16} {finding.found}"))
            if finding.mend:
                click.echo(printable(f"{'':<8} {'':<16} → {finding.mend}"))
    problems = sum(finding.verdict is Verdict.PROBLEM for finding in findings)
    say(f"{problems} problem{'' if problems == 1 else 's'} found" if problems else "everything is in order")
    if problems:
        raise Exit(CHECK_FAILED)


async def _examine(dns: bool, dns_server: tuple[str, int] | None) -> list[Finding]:
    from leadstream_events.settings import load_settings

    try:
        settings = load_settings()
    except ConfigurationError as error:
        wrong = [Finding("configuration", Verdict.PROBLEM, line, "correct it") for line in str(error).splitlines()]
        return wrong
    return [
        Finding("configuration", Verdict.OK, "every setting can be read"),
        checks.links(find_public_url().value),
        *await _redis(settings),
        *await _smtp(settings),
        *(await _dns(settings, dns_server) if dns else ()),
    ]


async def _dns(settings: Settings, server: tuple[str, int] | None) -> list[Finding]:
    from leadstream_cli.dns_lookup import examine

    try:
        return await examine(settings, server)
    except ConfigurationError as error:
        return [Finding("dns dkim", Verdict.PROBLEM, str(error), "correct it")]


async def _redis(settings: Settings) -> list[Finding]:
    from leadstream_events.setting_values import mask_url

    found = find_redis_url()
    shown = mask_url(found.value)
    try:
        async with redis_client() as client:
            await client.ping()
            return [Finding("redis", Verdict.OK, f"{shown} answers ({found.source})"), *await _server(client, settings)]
    except Exception as error:
        explained = explain(error, shown)
        if explained is None:
            raise
        return [
            Finding("redis", Verdict.PROBLEM, explained[0], "see `leadstream config` for where the address is from")
        ]


async def _server(client: Client, settings: Settings) -> list[Finding]:
    from leadstream_archiver.memory import read_load
    from leadstream_cli.archiving import retained_s
    from leadstream_events.keys import META

    info = await _info(client)
    stored = await client.hget(META, "partitions")
    return [
        checks.version(info),
        checks.role(info),
        checks.eviction(info),
        checks.persistence(info, await _appendfsync(client)),
        checks.memory(info),
        await _write(client),
        await redis_user(client),
        checks.partitions(settings.partitions, int(stored) if stored else None),
        await _clock(client),
        checks.budget(await read_load(client, int(stored or 1), retained_s(settings))),
        await _archive(client, int(stored or 1)),
        checks.retention(retained_s(settings), await _forgotten(client, int(stored or 1))),
        await _encryption(client, settings, int(stored or 1)),
        *await _queues(client, settings, int(stored or 1), told=checks.shows_idle(info)),
    ]


async def _queues(client: Client, settings: Settings, partitions: int, *, told: bool) -> list[Finding]:
    from leadstream_cli import queue_checks
    from leadstream_cli.queue_reading import read_queues

    queue, behind, absent = await read_queues(client, settings, partitions, told=told)
    return [queue_checks.services(absent, told=told), queue_checks.mails(queue), *queue_checks.groups(behind)]


async def _encryption(client: Client, settings: Settings, partitions: int) -> Finding:
    """Looks at some keys of each partition; `encryption status` looks at all."""
    from leadstream_events.errors import ConfigurationError
    from leadstream_events.keys import lead_keys
    from leadstream_events.sealing import wrapped_by
    from leadstream_events.vault import sealer_of

    try:
        sealer = sealer_of(settings)
    except ConfigurationError as error:
        return Finding("encryption", Verdict.PROBLEM, str(error), "correct the file: nothing that needs it starts")
    needed: set[str] = set()
    for partition in range(partitions):
        _, found = await client.hscan(lead_keys(partition), 0, count=_KEYS_LOOKED_AT)
        needed.update(kek for stored in found.values() for kek in wrapped_by(stored.decode()))
    return checks.encryption(on=sealer.on, known=set(sealer.key_file.ring().keys), needed=needed)


async def _archive(client: Client, partitions: int) -> Finding:
    """Reads the manifest, and looks who writes it."""
    from leadstream_cli.archiving import find_archive, find_archive_url
    from leadstream_events import keys
    from leadstream_events.errors import ArchiveUnavailable

    url, problem = find_archive_url(), ""
    try:
        archive = find_archive()
        if archive is not None:
            await archive.refresh()
    except (ArchiveUnavailable, ConfigurationError) as error:
        problem = str(error)
    there = False
    for number in range(partitions):
        key = keys.stream(number, keys.LEADS)
        groups = await client.xinfo_groups(key) if await client.exists(key) else ()
        there |= any(group["name"] == keys.ARCHIVER.encode() for group in groups)
    turn = await client.get(keys.ARCHIVER_TURN)
    return checks.archive(url, there, problem, turn.decode() if turn else None)


async def _forgotten(client: Client, partitions: int) -> dict[str, int]:
    from leadstream_cli.commands.streams import is_forgotten
    from leadstream_cli.queries import read_streams

    found = [group for stream in await read_streams(client, partitions) for group in stream.groups]
    out: dict[str, int] = {}
    for group in found:
        if is_forgotten(group):
            out[group.group] = out.get(group.group, 0) + group.lag
    return out


async def _info(client: Client) -> dict[str, Any]:
    """INFO of one server; of a cluster, that of its first node."""
    info = await client.info()
    nested = next(iter(info.values()), None)
    return dict(nested) if isinstance(nested, dict) and "redis_version" in nested else dict(info)


async def _appendfsync(client: Client) -> str | None:
    from redis.exceptions import ResponseError

    try:
        return str((await client.config_get("appendfsync")).get("appendfsync") or "") or None
    except ResponseError:  # CONFIG is often forbidden on managed servers
        return None


async def _write(client: Client) -> Finding:
    """Writes a key that vanishes by itself."""
    from leadstream_events.keys import PREFIX
    from leadstream_events.redis_client import classify

    try:
        await client.set(PREFIX + "{meta}:doctor", "1", px=_WRITE_TTL_MS)
    except Exception as error:
        cause = classify(error)
        if cause is None:
            raise
        return Finding("write", Verdict.PROBLEM, f"refused: {cause.cause.value}", (explain(cause, "it") or ("",))[0])
    return Finding("write", Verdict.OK, "takes writes")


async def _clock(client: Client) -> Finding:
    before = time.time()
    seconds, micros = await client.time()
    after = time.time()
    server = int(seconds) + int(micros) / 1e6
    return checks.clock((before + after) / 2 - server, after - before)


async def _smtp(settings: Settings) -> list[Finding]:
    """A handshake up to the login; no mail is sent."""
    from leadstream_cli.smtp_setting import password_of, smtp_url, tls_context_for
    from leadstream_events.setting_values import mask_url
    from leadstream_mail.smtp.dial import open_session
    from leadstream_mail.smtp.endpoint import parse_smtp_url
    from leadstream_mail.smtp.transaction import SessionFailed

    url = smtp_url(settings)
    shown = mask_url(url)
    try:
        endpoint = parse_smtp_url(url, password_of(settings))
        session = await open_session(
            endpoint, endpoint.password, tls_context_for(endpoint), settings.smtp_timeout, settings.smtp_timeout
        )
    except ConfigurationError as error:
        return [Finding("smtp", Verdict.PROBLEM, str(error), "correct it")]
    except SessionFailed as failed:
        failure = failed.outcome.failure
        text = " ".join(str(part) for part in (failure.code, failure.line) if part)
        found = f"{shown}: {failure.cause} at {failure.phase}{f' ({text})' if text else ''}"
        return [
            Finding("smtp", Verdict.PROBLEM, found, "check LEADSTREAM_SMTP_URL, user and password, and the network")
        ]
    await session.quit(settings.smtp_timeout)
    return [Finding("smtp", Verdict.OK, f"{shown} greets{' and takes the login' if endpoint.user else ''}")]

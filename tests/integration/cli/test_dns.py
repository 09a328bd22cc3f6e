"""`doctor --dns` against a real DNS server, and keys made by `dkim new-key`."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from leadstream_cli.dns_lookup import examine
from leadstream_cli.doctor_checks import Finding, Verdict
from leadstream_events.settings import Settings
from tests.integration.cli.conftest import Cli
from tests.support.dns_server import dns_server

SPF, DMARC = "v=spf1 ip4:192.0.2.1 -all", "v=DMARC1; p=quarantine"


def at(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host, int(port)


def verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    return {finding.check.removeprefix("dns "): finding.verdict for finding in findings}


@pytest.fixture
def made(cli: Cli, tmp_path: Path) -> tuple[Settings, dict[str, list[str]]]:
    """Settings with both keys, and the records that publish them."""
    records: dict[str, list[str]] = {}
    change: dict[str, object] = {}
    for name, options in (("dkim", []), ("dkim_ed25519", ["--ed25519"])):
        path = tmp_path / f"{name}.pem"
        selector = name.replace("_", "-")
        done = cli("dkim", "new-key", str(path), "--selector", selector, "--domain", "example.com", "--json", *options)
        told = done.json
        records[told["name"]] = [told["value"]]
        change |= {f"{name}_selector": selector, f"{name}_key_file": path}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings = Settings(mail_from="leads@example.com").model_copy(update=change)
    return settings, records | {"example.com": [SPF], "_dmarc.example.com": [DMARC]}


async def test_records_that_are_right_are_found(made: tuple[Settings, dict[str, list[str]]]) -> None:
    settings, records = made
    async with dns_server(records) as server:
        findings = await examine(settings, at(server))
    assert [finding.verdict for finding in findings] == [Verdict.OK] * 4, findings


async def test_each_missing_or_wrong_record_has_its_mend(made: tuple[Settings, dict[str, list[str]]]) -> None:
    settings, records = made
    ed25519, rsa = sorted(name for name in records if "_domainkey" in name)
    wrong = {rsa: records[ed25519], "example.com": [SPF, "v=spf1 ~all"]}
    async with dns_server(wrong) as server:
        findings = await examine(settings, at(server))
    assert verdicts(findings) == {"spf": Verdict.PROBLEM, "dkim": Verdict.PROBLEM, "dmarc": Verdict.PROBLEM}
    assert all(finding.mend for finding in findings)


async def test_without_an_answer_nothing_is_wrong_and_nothing_is_said_to_be_right() -> None:
    async with dns_server({}) as server:
        gone = at(server)
    findings = await examine(Settings(), gone)
    assert set(verdicts(findings).values()) == {Verdict.NOTE}


async def test_the_return_path_is_what_spf_is_asked_for() -> None:
    async with dns_server({"bounces.example.com": [SPF], "_dmarc.example.com": [DMARC]}) as server:
        findings = await examine(Settings(return_path="b@bounces.example.com"), at(server))
    assert verdicts(findings) == {"spf": Verdict.OK, "dkim": Verdict.NOTE, "dmarc": Verdict.OK}


def test_a_key_is_never_written_over(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("mine")
    done = cli("dkim", "new-key", str(path), "--selector", "a", "--domain", "example.com", code=1)
    assert "choose another name" in done.err and path.read_text() == "mine"


@pytest.mark.parametrize("server", ["example.com", "192.0.2.1:x", ""])
def test_a_dns_server_that_is_no_address_is_wrong_use(cli: Cli, server: str) -> None:
    done = cli("doctor", "--dns-server", server, code=2)
    assert "must be an address" in done.err

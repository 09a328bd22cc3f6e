"""What records of the sending domain are worth."""

from __future__ import annotations

import pytest

from leadstream_cli import dns_checks
from leadstream_cli.doctor_checks import Verdict

OK, NOTE, PROBLEM = Verdict.OK, Verdict.NOTE, Verdict.PROBLEM
RECORD = "v=DKIM1; k=rsa; p=QUJD"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (None, NOTE),
        ([], PROBLEM),
        (["google-site-verification=x"], PROBLEM),
        (["v=spf1 -all"], OK),
        (["v=spf1 include:_spf.example.com ~all", "other"], OK),
        (["v=spf1 redirect=_spf.example.com"], OK),
        (["v=spf1 a mx"], NOTE),
        (["v=spf1 all"], PROBLEM),
        (["V=SPF1 +ALL"], PROBLEM),
        (["v=spf1 -all", "v=spf1 ~all"], PROBLEM),
        (["v=spf10 -all"], PROBLEM),
    ],
)
def test_spf(answer: list[str] | None, verdict: Verdict) -> None:
    finding = dns_checks.spf("example.com", answer)
    assert finding.verdict is verdict and bool(finding.mend) is (verdict is not OK)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (None, NOTE),
        ([], PROBLEM),
        (["v=DMARC1; p=none"], OK),
        (["v = DMARC1 ; p = reject"], OK),
        (["v=DMARC1; rua=mailto:a@example.com"], PROBLEM),
        (["v=DMARC1; p=none", "v=DMARC1; p=none"], PROBLEM),
    ],
)
def test_dmarc(answer: list[str] | None, verdict: Verdict) -> None:
    finding = dns_checks.dmarc("example.com", answer)
    assert finding.verdict is verdict and bool(finding.mend) is (verdict is not OK)


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (None, NOTE, "did not answer"),
        ([], PROBLEM, "no DKIM record"),
        ([RECORD], OK, "that signs"),
        (["p=Q U J D"], OK, "that signs"),
        (["v=DKIM1; k=ed25519; p=QUJD"], PROBLEM, "another key"),
        (["v=DKIM1; k=rsa; p="], PROBLEM, "revoked"),
        (["v=DKIM1; k=rsa; p=REVG"], PROBLEM, "another key"),
    ],
)
def test_dkim(answer: list[str] | None, verdict: Verdict, words: str) -> None:
    finding = dns_checks.dkim("a._domainkey.example.com", answer, RECORD, "zone line")
    assert finding.verdict is verdict and words in finding.found

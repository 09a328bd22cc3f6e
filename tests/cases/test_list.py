"""docs/cases.md lists every case once, and names only tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cases.md"
RESULTS = ("holds", "does not fit", "later")
IDS = [
    "001-name-lf-bcc",
    "002-name-trailing-lf",
    "003-name-encoded-word-newline",
    "009-whole-nameaddr-encoded",
    "012-bad-punycode",
    "013-emoji-domain",
    "014-quoted-local-part",
    "016-address-254-boundary",
    "018-suppression-case",
    "019-line-998",
    "023-autolink-name",
    "024-template-expression",
    "029-invalid-utf8-body",
    "030-nan-infinity",
    "031-duplicate-keys",
    "032-content-type",
    "034-naive-datetime",
    "035-rtl-override",
    "037-xml-external-entity",
    "038-adf-broken-prolog",
    "039-421-idle",
    "040-rate-limit-wait-while-connected",
    "044-greylist-450",
    "048-lost-250",
    "049-slow-data-60s",
    "050-452-too-many",
    "051-one-reject-kills-batch",
    "053-starttls-stripped",
    "055-xoauth2-334",
    "056-non-ascii-reply",
    "057-multi-line-reply",
    "058-dot-stuffing",
    "059-bare-lf",
    "060-smuggling",
    "063-dns-stale",
    "064-dns-refused-dropped",
    "067-message-id-stable",
    "070-nogroup-after-flush",
    "071-nogroup-hot-loop",
    "074-pel-trimmed-entries",
    "077-unbounded-stream",
    "078-dead-group-blocks-trim",
    "079-consumer-name-growth",
    "083-own-pending-never-reread",
    "084-block-longer-than-socket-timeout",
    "085-timeout-strands-entry",
    "090-oom-multi-ack",
    "091-misconf",
    "092-loading",
    "094-readonly-replica",
    "096-cluster-no-reclaim",
    "098-huge-pel",
    "099-claim-while-running",
    "100-justid-no-count",
    "102-lag-null",
    "103-lag-wrong-after-trim",
    "106-wrong-type",
    "110-kill9-after-250",
    "111-fallback-then-redis-back",
    "112-fallback-mode",
    "113-fallback-partial",
    "118-eta-visibility",
    "119-worker-count-duplicates",
    "123-undecodable-wedges",
    "124-replay-resends",
    "125-dlq-retried-twice",
    "127-counter-drift",
    "128-unsubscribed-in-between",
    "129-shutdown-hangs-on-redis",
    "130-delayed-is-not-failed",
    "131-no-diagnostic",
    "133-auto-headers-out",
    "140-office365-541",
    "141-google-groups",
    "143-alias-must-not-be-blocked",
    "146-verp-plus-tag",
    "147-forged-dsn",
    "148-arf-jmrp",
    "149-arf-redacted",
    "150-arf-types",
    "152-same-dsn-twice",
    "154-cr-only-dsn",
]


def rows() -> dict[str, tuple[list[str], str, str]]:
    """Case to its tests, its result and its note; a case listed twice fails here."""
    found: dict[str, tuple[list[str], str, str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and re.match(r"[0-9]{3}-", cells[0]):
            case, _, tests, result, note = cells
            assert case not in found, case
            found[case] = (re.findall(r"`([^`]+)`", tests), result, note)
    return found


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of the tests in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_all_82_cases_are_listed_once_and_no_other() -> None:
    assert len(IDS) == len(set(IDS)) == 82
    assert list(rows()) == IDS


@pytest.mark.parametrize("case", IDS)
def test_the_tests_of_a_case_exist_and_its_result_is_backed(case: str) -> None:
    tests, result, note = rows()[case]
    assert result in RESULTS
    assert tests or result == "later"
    assert note or result == "holds"
    for test in tests:
        path, _, name = test.partition("::")
        assert name in names_in(ROOT / path), test

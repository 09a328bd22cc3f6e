"""Reads as much of a PromQL expression as it takes to see that what it names exists. No evaluation."""

from __future__ import annotations

import re
from dataclasses import dataclass

FUNCTIONS = frozenset(
    (
        "absent",
        "histogram_quantile",
        "increase",
        "max",
        "min",
        "rate",
        "sum",
        "avg",
        "count",
        "count_over_time",
        "changes",
        "time",
        "vector",
    )
)
_KEYWORDS = frozenset(("and", "or", "unless", "offset", "bool"))
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^()]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^{}]*)\}")
_MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"\s*')
_RANGE = re.compile(r"\[[0-9]+[smhd]\]")
_OFFSET = re.compile(r"\boffset\s+[0-9]+[smhd]\b")
_NAME = re.compile(r"[a-zA-Z_:][\w:]*")


@dataclass(frozen=True, slots=True)
class Expression:
    """`metrics` without suffixes of histograms; `grouped`: labels to group or match by; `matched`: (metric, label)."""

    metrics: frozenset[str]
    grouped: frozenset[str]
    matched: frozenset[tuple[str, str]]


def read(text: str) -> Expression:
    """Raises ValueError for what is no expression: open brackets, unknown functions, bad matchers or ranges."""
    _balanced(text)
    matched = {(_base(metric), label) for metric, body in _SELECTOR.findall(text) for label in _labels_of(body)}
    grouped = {name.strip() for names in _GROUPING.findall(text) for name in names.split(",") if name.strip()}
    rest = _SELECTOR.sub(r"\1", _GROUPING.sub(" ", _OFFSET.sub(" ", _RANGE.sub(" ", text))))
    if left := set(re.sub(r"[\w:.\s]", "", rest)) - set("()+-*/%^<>=!,"):
        raise ValueError(f"not understood: {left} in {text}")
    metrics = set()
    for found in _NAME.finditer(rest):
        called = rest[found.end() :].lstrip().startswith("(")
        if called and found[0] not in FUNCTIONS | _KEYWORDS:
            raise ValueError(f"unknown function {found[0]} in {text}")
        if not called and found[0] not in FUNCTIONS | _KEYWORDS:
            metrics.add(_base(found[0]))
    if not metrics:
        raise ValueError(f"no metric in {text}")
    return Expression(frozenset(metrics), frozenset(grouped), frozenset(matched))


def _labels_of(body: str) -> list[str]:
    out = []
    for part in body.split(","):
        found = _MATCHER.fullmatch(part)
        if found is None:
            raise ValueError(f"no label matcher: {part}")
        out.append(found[1])
    return out


def _base(name: str) -> str:
    return re.sub(r"_(bucket|count|sum)$", "", name)


def _balanced(text: str) -> None:
    opened: list[str] = []
    pairs = {")": "(", "]": "[", "}": "{"}
    for char in re.sub(r'"(?:[^"\\]|\\.)*"', "", text):
        if char in pairs.values():
            opened.append(char)
        elif char in pairs and (not opened or opened.pop() != pairs[char]):
            raise ValueError(f"unbalanced {char} in {text}")
    if opened:
        raise ValueError(f"{opened[-1]} stays open in {text}")

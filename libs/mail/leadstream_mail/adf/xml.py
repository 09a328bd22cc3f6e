"""Reads XML from strangers into a tree, within bounds and without anything that XML could fetch or blow up. Pure.

Document types are refused, and with them every entity of one's own and every external reference. Public generators
write documents that are not well-formed in four ways; these are mended, and nothing else is: text or instructions of
other spellings around the root, attributes without quotes, a bare `&` or `<` in text, and HTML's named entities. Every
step is linear in the size of the document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.entities import html5
from typing import Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from leadstream_events.errors import LeadstreamError

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 5_000
_MAX_TAG = 4_096
_ENCODINGS = {"utf-8": "utf-8", "us-ascii": "utf-8", "iso-8859-1": "iso-8859-1", "windows-1252": "windows-1252"}

_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s{0,9}=\s{0,9}[\"']([A-Za-z0-9._-]{1,40})", re.IGNORECASE)
_BEGIN, _END = re.compile(r"<adf[\s>]", re.IGNORECASE), re.compile(r"</adf\s{0,9}>", re.IGNORECASE)
_NO_TYPES = "a document type declaration or an entity of one's own is not taken; leave it out"
_TYPE = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z_][^<>]*>")
_ATTRIBUTE = re.compile(r"(?<![\w:.-])([A-Za-z_][\w:.-]*)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"'<>=]+)")
_AMPERSAND = re.compile(
    r"&(?:(#[0-9]{1,7};|#x[0-9A-Fa-f]{1,6};|(?:amp|lt|gt|quot|apos);)|([A-Za-z][A-Za-z0-9]{0,31};))?"
)


class Unreadable(LeadstreamError):
    """The bytes are no XML that is read here; the text says why and where, and quotes nothing."""


class Forbidden(Unreadable):
    """The document declares a document type or entities."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A document: names in lower case and without namespaces. `repaired`: it was not well-formed."""

    root: Element
    repaired: bool


class _Bounded(TreeBuilder):
    """A tree that cannot grow out of bounds."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._count = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable(f"elements stand more than {MAX_DEPTH} deep")
        if self._count > MAX_ELEMENTS:
            raise Unreadable(f"there are more than {MAX_ELEMENTS} elements")
        return super().start(_plain(tag), {_plain(name): value for name, value in attrs.items()})

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(_plain(tag))


def _plain(name: str) -> str:
    return name.rpartition("}")[2].lower()


def read_tree(body: bytes) -> Tree:
    """Returns the document; `Unreadable` for one that is refused, or not well-formed beyond what is mended."""
    try:
        return Tree(_parse(body), False)
    except (ParseError, ValueError, LookupError) as error:
        mended = _mended(body)
        if mended is None:
            raise _unreadable(error) from None
    try:
        return Tree(_parse(mended.encode()), True)
    except (ParseError, ValueError, LookupError) as error:
        raise _unreadable(error) from None


def _parse(body: bytes) -> Element:
    parser = DefusedXMLParser(target=_Bounded(), forbid_dtd=True)
    try:
        parser.feed(body)
        root: Element = parser.close()
    except DefusedXmlException:
        raise Forbidden(_NO_TYPES) from None
    return root


def _unreadable(error: Exception) -> Unreadable:
    if isinstance(error, ParseError):
        line, column = error.position
        return Unreadable(f"not well-formed XML at line {line}, column {column + 1}")
    return Unreadable("not well-formed XML, or in an encoding that is not taken; use UTF-8")


def _mended(body: bytes) -> str | None:
    """The document without the four faults; None if it is none that mending is for."""
    declared = _DECLARED.search(body[:1000])
    encoding = _ENCODINGS.get(declared[1].decode().lower() if declared else "utf-8")
    if encoding is None:
        return None
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:  # what old form scripts send whatever they declare
        text = body.decode("windows-1252", "replace")
    if _TYPE.search(text):
        raise Forbidden(_NO_TYPES)
    begin, ends = _BEGIN.search(text), list(_END.finditer(text))
    return _mended_from(text[: ends[-1].end()], begin.start()) if begin and ends else None


def _mended_from(text: str, at: int) -> str | None:
    out: list[str] = []
    while at < len(text):
        end = -1
        for start, stop in (("<![CDATA[", "]]>"), ("<!--", "-->"), ("<?", "?>")):
            if text.startswith(start, at):
                found = text.find(stop, at)
                if found == -1:
                    return None
                end = found + len(stop)
                out.append(text[at:end])
        if end == -1:
            tag = _TAG.match(text, at) if text[at] == "<" else None
            if tag is not None:
                if len(tag[0]) > _MAX_TAG:
                    return None
                end = tag.end()
                out.append(_ATTRIBUTE.sub(_quoted, tag[0]))
            elif text[at] == "<":
                end = at + 1
                out.append("&lt;")
            else:
                next_tag = text.find("<", at)
                end = next_tag if next_tag != -1 else len(text)
                out.append(_AMPERSAND.sub(_reference, text[at:end]))
        at = end
    return "".join(out)


def _quoted(match: re.Match[str]) -> str:
    name, value = match[1], match[2]
    if value[0] in "\"'":
        return f"{name}={_AMPERSAND.sub(_reference, value)}"
    closing = "/" if value.endswith("/") and match.end() == len(match.string) - 1 else ""
    bare = value.removesuffix("/") if closing else value
    return f'{name}="{_AMPERSAND.sub(_reference, bare)}"{closing}'


def _reference(match: re.Match[str]) -> str:
    known, named = match[1], match[2]
    if known:
        return match[0]
    if named:
        return " " if named == "nbsp;" else html5.get(named, f"&amp;{named}")
    return "&amp;"

"""Cuts the bytes of a server into replies (RFC 5321 section 4.2): pure, and bounded whatever the server sends."""

from __future__ import annotations

MAX_LINE_BYTES = 8192
# A reply that has not ended after this many bytes is none: a few kilobytes hold any real one.
MAX_REPLY_BYTES = 4 * MAX_LINE_BYTES

Reply = tuple[int, bytes]


class Replies:
    """What came in so far. A reply is its code and its text, lines of it joined with line feeds."""

    __slots__ = ("_lines", "_rest", "_size", "garbled")

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []
        self._size = 0
        self.garbled = False

    @property
    def empty(self) -> bool:
        """True between two replies."""
        return not self._rest and not self._lines

    def feed(self, data: bytes) -> list[Reply]:
        """Returns the replies that are complete now. Sets `garbled` at what is no reply; what follows it is void."""
        data = self._rest + data if self._rest else data
        found: list[Reply] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0 and not self.garbled:
            line = data[start:end]
            start = end + 1
            self._size += len(line)
            if not line[:3].isdigit() or len(line) > MAX_LINE_BYTES or self._size > MAX_REPLY_BYTES:
                self.garbled = True
            elif line[3:4] == b"-":
                self._lines.append(line[4:].strip())
            else:
                text = line[4:].strip()
                if self._lines:
                    text = b"\n".join((*self._lines, text))
                    self._lines = []
                self._size = 0
                found.append((int(line[:3]), text))
        self._rest = data[start:]
        if len(self._rest) > MAX_LINE_BYTES:
            self.garbled = True
        return found

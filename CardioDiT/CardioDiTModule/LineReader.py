from __future__ import annotations

LONGEST_LINE = 1 << 24


class LineReader:
    """Whole lines of a stream of bytes that comes in pieces cut anywhere, also within a character.

    Example:
        >>> reader = LineReader()
        >>> reader.feed(b"one\\ntw")
        ['one']
        >>> reader.feed(b"o\\n")
        ['two']
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Take a piece; returns the complete lines, without their ends. Damaged bytes become question marks."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:  # somebody writes garbage without end
            lines.append(self._rest)
            self._rest = b""
        return [self._decode(line) for line in lines]

    def rest(self) -> str:
        """What came after the last line end; empties the reader."""
        rest, self._rest = self._rest, b""
        return self._decode(rest)

    @staticmethod
    def _decode(line: bytes) -> str:
        return line.rstrip(b"\r").decode("utf-8", errors="replace")

"""Text of others, made harmless for where it is shown."""

from __future__ import annotations

import re
import unicodedata

_MARKDOWN = re.compile(r"([\\`*_<|~]|\](?=\())")


def plain_text(text: str) -> str:
    """Text for a terminal: control characters become spaces, so that it can move no cursor and hide no line.

    A licence, a class or a title comes from whoever made the bundle; an escape sequence in it could rewrite what stands
    on the screen. Marks that turn the direction of writing go as well.
    """
    return "".join(" " if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp") else one for one in text)


def markdown_text(text: str) -> str:
    """Text inside a line or a table cell of Markdown: shown as it is, never taken for markup."""
    return _MARKDOWN.sub(r"\\\1", plain_text(text))

"""What every page of this software has to be: whole, escaped, self-contained, small."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser

MOST_BYTES = 1_000_000
VOID = {"meta", "img", "br", "link"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class WellFormed(HTMLParser):
    """Checks that tags are closed in order; collects tags, addresses, ids and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.without_alternative = 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        assert not any(name.startswith("on") for name in values), values
        self.addresses += [values[key] for key in ("src", "href", "action", "srcset", "xlink:href") if key in values]
        if "id" in values:
            self.ids.append(values["id"])
        self.without_alternative += tag == "img" and not values.get("alt")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        if not (self.open and self.open[-1] == "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def check_page(text: str) -> WellFormed:
    """Assert the rules of all pages; gives what was read."""
    read = WellFormed(text)
    bare = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|javascript:", bare)
    assert all(address.startswith("data:image/") for address in read.addresses)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(read.tags)
    assert len(read.ids) == len(set(read.ids)) and read.without_alternative == 0
    assert len(text.encode()) <= MOST_BYTES
    assert not re.search(r"\b(null|None|nan|NaN|inf)\b", read.text), read.text
    assert "{" not in read.text and "@page" in text and "@media print" in text
    assert "Not a medical device" in read.text
    return read


def browser() -> str | None:
    """A browser that draws pages without a screen; None where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)

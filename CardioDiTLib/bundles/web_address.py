"""Which addresses files may be fetched from."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

from CardioDiTLib.errors import CardioDiTError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_ODD = re.compile(r"[\x00-\x20\x7f\\]")


def is_loopback(address: str) -> bool:
    """True for an address of this very machine."""
    return urlsplit(address).hostname in LOOPBACK


def host_of(address: str) -> str:
    """Host of an address, for messages."""
    return urlsplit(address).hostname or address


def check_address(address: str, *, only_https: bool = False) -> SplitResult:
    """Refuse addresses whose answer anybody on the way could change or read.

    Args:
        address: https, or http of this machine.
        only_https: Refuse http of this machine too: nobody outside may send us to a server in here.

    Returns:
        Its parts.

    Raises:
        CardioDiTError: It is another kind of address, or holds a password.
    """
    shown = address if len(address) <= 200 else f"{address[:197]}..."
    hint = "Give an address that starts with https://."
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise CardioDiTError(f"'{shown}' is not an address.", hint) from error
    if not host or _ODD.search(address):
        raise CardioDiTError(f"'{shown}' is not an address.", hint)
    if parts.username is not None or parts.password is not None:
        raise CardioDiTError(
            f"The address of {host} holds a user name or password.", "Leave it out: addresses are kept in plain text."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK and not only_https):
        raise CardioDiTError(f"'{shown}' is not a secure address: only https is fetched.", hint)
    return parts


def beside(address: str, name: str) -> str:
    """Address of another file of the same folder; a query is kept, for it may be what opens the folder."""
    parts = urlsplit(address)
    folder = parts.path.rpartition("/")[0]
    return urlunsplit((parts.scheme, parts.netloc, f"{folder}/{name}", parts.query, ""))

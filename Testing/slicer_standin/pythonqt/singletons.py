"""Keep None, True and False alive.

PySide6 6.12 is built for Python 3.12 and later, where these objects live for ever: on older Pythons each call that
returns one of them loses a reference, and after some thousand calls the interpreter ends with "deallocating None".
"""

from __future__ import annotations

import ctypes
import sys

IMMORTAL_SINCE = (3, 12)
PLENTY = 1 << 40


def install() -> None:
    """Give them more references than any test can lose."""
    if sys.version_info >= IMMORTAL_SINCE or sys.implementation.name != "cpython":
        return
    for singleton in (None, True, False):
        # The reference count is the first field of an object.
        ctypes.c_ssize_t.from_address(id(singleton)).value += PLENTY

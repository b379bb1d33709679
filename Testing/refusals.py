"""Refusals by what they must hold, whatever their wording."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from CardioDiTLib.errors import CardioDiTError


def names(said: str, *named: object) -> bool:
    """Whether a sentence names all of these as whole words; fails with the first that it does not."""
    for one in named:
        assert re.search(rf"(?<!\w){re.escape(str(one))}(?!\w)", said), f"'{one}' is not named: {said}"
    return True


@contextmanager
def refused(*named: object) -> Iterator[pytest.ExceptionInfo[CardioDiTError]]:
    """Expect a `CardioDiTError`: one line, with a hint, that names all of these as whole words.

    Args:
        named: Values, names of files or options, or the one word of the field that tells this refusal from others.
    """
    with pytest.raises(CardioDiTError) as caught:
        yield caught
    error, said = caught.value, str(caught.value)
    assert error.message.strip() and error.hint.strip() and "\n" not in said, said
    assert names(said, *named)

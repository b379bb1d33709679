"""How often and after which waits a transfer is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a transfer is.

    Args:
        attempts: Tries in a row that bring nothing worth mentioning before it gives up.
        first_wait_s: Wait after the first failure; it doubles each time.
        longest_wait_s: No wait is longer, whatever the server asks for.
        connect_timeout_s: How long a server may take to answer the call.
        read_timeout_s: How long it may be silent.
        progress_bytes: A try that brings as much starts the count of failures anew.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    progress_bytes: int = 1 << 20

    def wait_s(self, failures: int, asked_s: float | None = None, chance: Callable[[], float] = random.random) -> float:
        """Seconds before the next try.

        Args:
            failures: Failures in a row, from 1 on.
            asked_s: What the server asked for.
            chance: Random number from 0 to 1: users that a server dropped at one moment must not come back at one.
        """
        if asked_s is not None:
            return max(0.0, min(asked_s, self.longest_wait_s))
        return min(self.longest_wait_s, self.first_wait_s * 2 ** (failures - 1)) * (0.5 + 0.5 * chance())


DEFAULT_POLICY = RetryPolicy()

"""Parts of a transfer: checked addresses, retries, one answer of a server (which can be stopped while it is awaited),
progress.
"""

from __future__ import annotations

import queue
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.progress import Stop
from CardioDiTLib.version import __version__

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_ODD = re.compile(r"[\x00-\x20\x7f\\]")
HOPS_LIMIT = 8
_CHUNK = 1 << 16
_QUEUED = 32
_POLL_S = 0.1
_SLACK_S = 5.0
_EVERY_S = 0.1
_WINDOW_S = 5.0


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


@dataclass(frozen=True)
class Answer:
    """Head of an answer.

    Attributes:
        status: Its number, such as 206.
        headers: Its headers; case does not matter.
    """

    status: int
    headers: Mapping[str, str]


class _Hop:
    """The server sent us elsewhere: a sign of life."""


class _End:
    """The body is over."""


class HttpStream:
    """A GET whose network side lives in a thread of its own.

    A read of a socket cannot be stopped, so that a silent server would hold whoever waits for it until the time-out.
    Here the one who waits looks at a queue and at the wish to stop in turn; the thread is left to its time-out.

    Args:
        address: What to get. Redirections are followed by hand, every one of them checked.
        headers: Headers to send.
        policy: For the time-outs.
        stop: Asked ten times a second.
    """

    def __init__(self, address: str, headers: Mapping[str, str], policy: RetryPolicy, stop: Stop) -> None:
        self._address = address
        self._headers = {
            "User-Agent": f"CardioDiT/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # sizes, ranges and fingerprints are those of the file itself
            **headers,
        }
        self._policy = policy
        self._stop = stop
        self._items: queue.Queue[Any] = queue.Queue(_QUEUED)
        self._left = threading.Event()
        self._response: Any = None

    def __enter__(self) -> HttpStream:
        check_address(self._address)
        threading.Thread(target=self._work, name="download", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        shutdown = getattr(getattr(self._response, "raw", None), "shutdown", None)
        if kind is not None and shutdown is not None:  # wakes the thread at once, with newer urllib3
            with suppress(Exception):
                shutdown()

    def open(self) -> Answer:
        """Wait for the head of the answer.

        Raises:
            Cancelled: The job has to stop.
            CardioDiTError: A redirection is not followed.
            Exception: Whatever requests and urllib3 raise.
        """
        while isinstance(item := self._next(), _Hop):
            pass
        assert isinstance(item, Answer)
        return item

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece; raises as :meth:`open` does."""
        while not isinstance(item := self._next(), _End):
            yield item

    def _next(self) -> Any:
        """The next sign of life. The system's look-up of names knows no time-out, so that there is one here too."""
        patience_s = self._policy.connect_timeout_s + self._policy.read_timeout_s + _SLACK_S
        for _ in range(max(1, round(patience_s / _POLL_S))):
            self._stop.check()
            with suppress(queue.Empty):
                item = self._items.get(timeout=_POLL_S)
                if isinstance(item, BaseException):
                    raise item
                return item
        raise TimeoutError(f"no answer in {patience_s:.0f} s")

    def _work(self) -> None:
        try:
            import requests

            with requests.Session() as session, self._follow(session) as response:
                self._response = response
                self._put(Answer(response.status_code, response.headers))
                if response.status_code in (200, 206):
                    # read1 gives what is there instead of waiting for a full piece; urllib3 1 does not have it
                    read = getattr(response.raw, "read1", None) or response.raw.read
                    while chunk := read(_CHUNK, decode_content=False):
                        if not self._put(chunk):
                            return
            self._put(_End())
        except BaseException as error:
            self._put(error)

    def _follow(self, session: Any) -> Any:
        address, from_here = self._address, is_loopback(self._address)
        for _ in range(HOPS_LIMIT):
            response = session.get(
                address,
                headers=self._headers,
                stream=True,
                allow_redirects=False,
                timeout=(self._policy.connect_timeout_s, self._policy.read_timeout_s),
                # a proxy cannot reach this very machine
                proxies={"http": None, "https": None, "all": None} if is_loopback(address) else None,
            )
            target = session.get_redirect_target(response)
            if target is None:
                return response
            response.close()
            self._put(_Hop())
            address = urljoin(address, target).partition("#")[0]
            try:
                check_address(address, only_https=not from_here)
            except CardioDiTError as error:
                raise CardioDiTError(
                    f"{host_of(self._address)} sends us on to an address that is not fetched: {error.message}",
                    "Give an address that leads to https all the way.",
                ) from error
        raise CardioDiTError(
            f"{host_of(self._address)} sends us on and on: {HOPS_LIMIT} redirections in a row.", "Check the address."
        )

    def _put(self, item: Any) -> bool:
        while not self._left.is_set():
            with suppress(queue.Full):
                self._items.put(item, timeout=_POLL_S)
                return True
        return False


@dataclass(frozen=True)
class TransferProgress:
    """One sign of progress.

    Attributes:
        name: Name of the bundle.
        file: The file at work; empty where there is none.
        done_bytes: Bytes that are there.
        total_bytes: Of how many; None where nobody knows yet.
        bytes_per_s: Bytes that come in a second now; 0 where none do.
        eta_s: Seconds that the rest will take; None where nobody knows.
        fraction: Share that is done, 0 to 1.
        state: "download", "retry" (waiting before another try), "wait" (for another process), "check", "import"
            (copying) or "done".
    """

    name: str
    file: str
    done_bytes: int
    total_bytes: int | None
    bytes_per_s: float
    eta_s: float | None
    fraction: float
    state: str = "download"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


TransferCallback = Callable[[TransferProgress], None]


class TransferMeter:
    """Turns bytes into signs of progress, not more than ten a second.

    Args:
        name: Name of the bundle.
        total_bytes: Bytes of all files; None where nobody knows yet.
        callback: Who is told; None for nobody.
        now: The clock, seconds.
    """

    def __init__(
        self,
        name: str,
        total_bytes: int | None,
        callback: TransferCallback | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.total_bytes = total_bytes
        self._callback = callback
        self._now = now
        self._before = 0
        self._at = 0
        self._file = ""
        self._came = 0
        self._seen: deque[tuple[float, int]] = deque()
        self._last = -_EVERY_S

    def begin(self, file: str) -> None:
        """A file is begun; what the one before brought counts."""
        self._before += self._at
        self._at = 0
        self._file = file

    def at(self, position: int, state: str = "download", came: int = 0) -> None:
        """The file is there up to a position.

        Args:
            position: Its bytes that are there.
            state: As in :class:`TransferProgress`.
            came: How many of them are new, for the speed.
        """
        self._at = position
        moment = self._now()
        self._came += came
        if came:
            self._seen.append((moment, self._came))
        while len(self._seen) > 2 and moment - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()
        if moment - self._last >= _EVERY_S:
            self._tell(state)

    def tell(self, state: str) -> None:
        """Give a sign now."""
        self._tell(state)

    def waiting(self, done_bytes: int) -> None:
        """Another process is at work; it has got so far."""
        self._before, self._at, self._file = done_bytes, 0, ""
        if self._now() - self._last >= _EVERY_S:
            self._tell("wait")

    def restart(self) -> None:
        """Count from the beginning again, as after waiting."""
        self._before, self._at, self._file = 0, 0, ""

    def _tell(self, state: str) -> None:
        self._last = self._now()
        if self._callback is None:
            return
        done, total = self._before + self._at, self.total_bytes
        speed = self._speed() if state in ("download", "import") else 0.0
        left = None if total is None else max(0, total - done)
        fraction = 0.0 if total is None else 1.0 if left == 0 else min(1.0, done / max(1, total))
        eta_s = None if left is None else 0.0 if left == 0 else left / speed if speed > 0 else None
        self._callback(TransferProgress(self.name, self._file, done, total, speed, eta_s, fraction, state))

    def _speed(self) -> float:
        if len(self._seen) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / max(last_s - first_s, 1e-3)

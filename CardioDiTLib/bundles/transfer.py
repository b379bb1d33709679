"""One file over the web: resumed where it was cut off, and named only once its fingerprint is right."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NoReturn

from CardioDiTLib.bundles.http_stream import (
    DEFAULT_POLICY,
    Answer,
    HttpStream,
    RetryPolicy,
    TransferMeter,
    host_of,
)
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import FileRecord
from CardioDiTLib.progress import Stop
from CardioDiTLib.schema import parse_json

PART_SUFFIX = ".part"
SIDECAR_SUFFIX = ".part.json"

_CHUNK = 1 << 20
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 508, 520, 521, 522, 523, 524, 525})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class _Interrupted(Exception):
    """A try that failed, where another one may not.

    Args:
        sentence: What to say if no further try is made, without full stop.
        asked_s: The wait that the server asks for.
        at_once: Another try needs no wait: the first only found out that what is here is of no use.
    """

    def __init__(self, sentence: str, asked_s: float | None = None, at_once: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.asked_s = asked_s
        self.at_once = at_once


class Transfer:
    """Fetches a file.

    What has come lies in a ``.part`` file; a small file beside it holds what is needed to go on later. The file itself
    appears only once it is complete and its fingerprint is right.

    Args:
        address: Where it is.
        folder: Folder for the part.
        target: Where the file appears.
        meter: Told how far it is.
        stop: Asked for every piece.
        record: Fingerprint that it must have; None where it is not known.
        limit_bytes: Size that it must not exceed; counts where there is no fingerprint.
        policy: How patient it is.
    """

    def __init__(
        self,
        address: str,
        folder: Path,
        target: Path,
        *,
        meter: TransferMeter,
        stop: Stop,
        record: FileRecord | None = None,
        limit_bytes: int = 0,
        policy: RetryPolicy = DEFAULT_POLICY,
    ) -> None:
        self._address = address
        self._host = host_of(address)
        self._target = target
        self._part = folder / f"{target.name}{PART_SUFFIX}"
        self._sidecar = folder / f"{target.name}{SIDECAR_SUFFIX}"
        self._meter = meter
        self._stop = stop
        self._record = record
        self._limit = limit_bytes if record is None else record.bytes
        self._policy = policy

    def run(self) -> None:
        """Fetch it.

        Raises:
            Cancelled: The job has to stop; what has come is kept.
            CardioDiTError: It cannot be had; what has come is kept where it may still be of use.
        """
        self._meter.begin(self._target.name)
        restarted = False
        while True:
            resumed = self._fetch()
            if self._is_right():
                break
            self._drop()
            # a part of another file may have been gone on with; only a file in one piece tells
            if not resumed or restarted:
                raise CardioDiTError(
                    f"'{self._target.name}' from {self._host} is not the file that was announced: its SHA-256 differs.",
                    "It was changed or damaged. Add the source again if there is a new version, or tell the publisher.",
                )
            restarted = True
        with self._writing():
            with self._part.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(self._part, self._target)
        with suppress(OSError):
            self._sidecar.unlink()

    def _fetch(self) -> bool:
        """Try until all bytes are there; True where some of them were there before the last try."""
        failures = 0
        at_once = 0
        while True:
            before = self._have()
            try:
                return self._attempt()
            except _Interrupted as problem:
                if problem.at_once and at_once < 2:
                    at_once += 1
                    continue
                failures = 1 if self._have() - before >= self._policy.progress_bytes else failures + 1
                if failures >= self._policy.attempts:
                    hint = "Try again later: what is there already is kept." if self._kept() else "Try again later."
                    raise CardioDiTError(f"{problem.sentence}; tried {failures} times.", hint) from problem
                self._meter.tell("retry")
                self._stop.wait(self._policy.wait_s(failures, problem.asked_s))

    def _attempt(self) -> bool:
        state = self._state()
        offset = self._have()
        if offset and (state is None or offset > self._limit):
            self._drop()
            offset, state = 0, None
        if self._record is not None and offset == self._record.bytes and (offset or self._part.exists()):
            self._meter.at(offset)
            return True
        headers = self._range(offset, state or {})
        try:
            with HttpStream(self._address, headers, self._policy, self._stop) as stream:
                answer = stream.open()
                whole = self._begin(answer, offset, state or {})
                if answer.status == 200:
                    offset = 0
                self._receive(stream, offset, whole)
        except CardioDiTError:
            raise
        except Exception as error:
            self._judge(error)
        return offset > 0

    def _range(self, offset: int, state: Mapping[str, Any]) -> dict[str, str]:
        if not offset:
            return {}
        headers = {"Range": f"bytes={offset}-"}
        # without it, the fingerprint alone tells whether the two halves belong together
        if state.get("url") == self._address and (mark := state.get("etag") or state.get("last_modified")):
            headers["If-Range"] = mark
        return headers

    def _begin(self, answer: Answer, offset: int, state: Mapping[str, Any]) -> int | None:
        """Judge the head of an answer and make the part ready; the size of the whole file where it is told."""
        if answer.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
            raise CardioDiTError(
                f"{self._host} sends '{self._target.name}' compressed ({answer.headers['Content-Encoding']}).",
                "Use another server: sizes and fingerprints would be those of something else.",
            )
        if answer.status == 206 and offset:
            return self._go_on(answer, offset, state)
        if answer.status != 200:
            self._refuse(answer, offset)
        whole = _number(answer.headers.get("Content-Length"))
        if whole is not None and self._record is not None and whole != self._record.bytes:
            raise CardioDiTError(
                f"{self._host} sends something else in place of '{self._target.name}': {whole} bytes instead of "
                f"{self._record.bytes}.",
                "Check the address, and whether a page for signing in stands in the way.",
            )
        if whole is not None and whole > self._limit:
            self._too_long()
        self._drop()
        self._note(answer)
        return whole

    def _go_on(self, answer: Answer, offset: int, state: Mapping[str, Any]) -> int | None:
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        whole = None if found is None or found[3] == "*" else int(found[3])
        fits = found is not None and int(found[1]) == offset
        fits = fits and (whole is None or self._record is None or whole == self._record.bytes)
        if state.get("url") == self._address:
            fits = fits and (state.get("etag") or None) == _strong(answer.headers.get("ETag"))
        if not fits:
            self._drop()
            raise _Interrupted(f"{self._host} changed '{self._target.name}' while it was being fetched", at_once=True)
        return whole

    def _receive(self, stream: HttpStream, offset: int, whole: int | None) -> None:
        size = offset
        self._meter.at(size)
        with self._writing():
            part = self._part.open("ab")
        with part:
            for chunk in stream.chunks():
                self._stop.check()
                size += len(chunk)
                if size > self._limit:
                    break
                with self._writing():
                    part.write(chunk)
                    part.flush()  # what has come must outlive this process
                self._meter.at(size, came=len(chunk))
        if size > self._limit:
            self._too_long()
        expected = whole if self._record is None else self._record.bytes
        if expected is not None and size < expected:
            raise _Interrupted(
                f"The connection to {self._host} was cut after {size} of {expected} bytes of '{self._target.name}'"
            )

    def _refuse(self, answer: Answer, offset: int) -> NoReturn:
        name, status = self._target.name, answer.status
        if status == 416 and offset:
            self._drop()
            raise _Interrupted(f"{self._host} has no more of '{name}'", at_once=True)
        if status in _PASSING:
            what = "is asked too often for" if status == 429 else "could not send"
            raise _Interrupted(f"{self._host} {what} '{name}' (status {status})", asked_s=_retry_after(answer.headers))
        if status in (404, 410):
            raise CardioDiTError(
                f"{self._host} has no '{name}' at this address (status {status}).",
                "Check the address and the revision, or ask the publisher.",
            )
        if status in (401, 403, 407, 451):
            raise CardioDiTError(
                f"{self._host} does not give '{name}' to us (status {status}).",
                "It may need a login: fetch the bundle with a browser and import it from the folder or zip.",
            )
        raise CardioDiTError(
            f"{self._host} answers with status {status} when asked for '{name}'.", "Check the address."
        )

    def _too_long(self) -> NoReturn:
        self._drop()
        if self._record is None:
            raise CardioDiTError(
                f"'{self._target.name}' from {self._host} is larger than {_megabytes(self._limit)}.",
                "Check the address: it does not lead to what was expected.",
            )
        raise CardioDiTError(
            f"{self._host} sends more than the {self._limit} bytes that '{self._target.name}' has.",
            "Check the address, or tell the publisher.",
        )

    def _judge(self, error: Exception) -> NoReturn:
        """Tell passing trouble with a connection from what another try cannot mend."""
        if isinstance(error, _Interrupted):
            raise error
        import requests
        import urllib3

        hopeless = (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
            requests.exceptions.InvalidProxyURL,
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidHeader,
        )
        text = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in text or "doesn't match" in text:
            raise CardioDiTError(
                f"The certificate of {self._host} cannot be trusted.",
                "Check date and time; behind a company's proxy, set REQUESTS_CA_BUNDLE to its certificate.",
            ) from error
        if isinstance(error, (*hopeless, UnicodeError)):
            raise CardioDiTError(
                f"{self._host} cannot be asked for '{self._target.name}' ({type(error).__name__}).",
                "Check the address and the settings of your proxy.",
            ) from error
        if not isinstance(error, (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)):
            raise error
        raise _Interrupted(f"{self._reason(error)} when asked for '{self._target.name}'") from error

    def _reason(self, error: Exception) -> str:
        import requests
        import urllib3

        text = str(error)
        timed_out = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
        if isinstance(error, requests.exceptions.ProxyError):
            return f"The proxy on the way to {self._host} gave no answer"
        if "resolve" in text or "getaddrinfo" in text:
            return f"The host {self._host} could not be found"
        if isinstance(error, timed_out) or "timed out" in text:
            return f"{self._host} was silent for too long"
        if "refused" in text:
            return f"{self._host} refused the connection"
        return f"The connection to {self._host} was cut"

    def _state(self) -> dict[str, Any] | None:
        """What is known about the part; None where it cannot be gone on with."""
        try:
            state = parse_json(self._sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(state, dict):
            return None
        if self._record is not None:
            same = state.get("sha256") == self._record.sha256 and state.get("bytes") == self._record.bytes
        else:
            # no fingerprint would tell if the halves did not belong together, so that the server has to
            same = state.get("url") == self._address and bool(state.get("etag"))
        return state if same else None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Trouble with the disk is not trouble with the connection: another try would not mend it."""
        try:
            yield
        except OSError as error:
            raise CardioDiTError(
                f"'{self._target.name}' could not be written: {error.strerror or error}.",
                "Check the folder, its permissions and the free disk space.",
            ) from error

    def _note(self, answer: Answer) -> None:
        state = {
            "url": self._address,
            "etag": _strong(answer.headers.get("ETag")),
            "last_modified": answer.headers.get("Last-Modified"),
            "sha256": None if self._record is None else self._record.sha256,
            "bytes": None if self._record is None else self._record.bytes,
        }
        temporary = self._sidecar.with_suffix(".new")
        with self._writing():
            temporary.write_text(json.dumps(state), encoding="utf-8")
            os.replace(temporary, self._sidecar)

    def _have(self) -> int:
        try:
            return self._part.stat().st_size
        except FileNotFoundError:
            return 0

    def _kept(self) -> bool:
        # without a fingerprint or a mark of the server, nothing is gone on with
        return self._have() > 0 and self._state() is not None

    def _drop(self) -> None:
        for path in (self._part, self._sidecar):
            with self._writing(), suppress(FileNotFoundError):
                path.unlink()

    def _is_right(self) -> bool:
        if self._record is None:
            return True
        return matches(self._part, self._record, self._stop, self._meter)


def matches(path: Path, record: FileRecord, stop: Stop, meter: TransferMeter | None = None) -> bool:
    """Has a file this fingerprint?

    Args:
        path: The file; it may be absent.
        record: The fingerprint.
        stop: Asked for every piece.
        meter: Told that a check is going on.

    Raises:
        Cancelled: The job has to stop.
        OSError: The file cannot be read.
    """
    if not path.is_file() or path.stat().st_size != record.bytes:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            stop.check()
            digest.update(chunk)
            if meter is not None:
                meter.at(record.bytes, state="check")
    return digest.hexdigest() == record.sha256


def _strong(etag: str | None) -> str | None:
    """Only a strong mark promises the same bytes."""
    return etag if etag and not etag.startswith("W/") else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "").strip()
    if (seconds := _number(text)) is not None:
        return float(seconds)
    with suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
    return None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"

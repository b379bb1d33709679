"""Landmark tracks as CSV and JSON files.

Both hold one entry a point that is there: frame, slice, point name, position in mm RAS, confidence. A point that is
missing has no entry. Number of frames and slices, frame times and provenance stand in comment lines above a CSV table,
and beside the list in JSON.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import at_home, atomic_path
from CardioDiTLib.io.frame_times import assumed_times, decode_meta, encode_meta
from CardioDiTLib.schema import parse_json

POINT_NAMES = ("anterior", "inferior")
COLUMNS = ("frame", "slice", "point", "x_mm", "y_mm", "z_mm", "confidence")
SUFFIXES = (".csv", ".json")

_FORMAT = "CardioDiT landmarks"
_VERSION = 1
_MOST_CELLS = 10_000_000  # larger frame or slice numbers are taken for an error in the file


def save_landmarks(track: LandmarkTrack, path: str | os.PathLike[str]) -> Path:
    """Write a track; the file appears whole or not at all, and the same track gives the same bytes.

    Args:
        track: What to write.
        path: Ends in .csv or .json; missing folders are made.

    Returns:
        The path.

    Raises:
        CardioDiTError: Another suffix, a point without confidence, or the file cannot be written.
    """
    destination = at_home(path)
    suffix = _known_suffix(destination)
    entries = list(_entries(track))
    head = {
        "format": _FORMAT,
        "version": _VERSION,
        "coordinates": "mm RAS",
        "frames": track.n_frames,
        "slices": track.n_slices,
        "frame_times_s": track.frame_times.tolist(),
    }
    if suffix == ".csv":
        stream = io.StringIO(newline="")
        for name, value in head.items():
            stream.write(f"# {name}: {json.dumps(value)}\n")
        stream.write(f"# meta: {encode_meta(track.meta)}\n")
        table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(entries)
        text = stream.getvalue()
    else:
        meta = json.loads(json.dumps(track.meta, default=_plain))
        text = json.dumps({**head, "points": entries, "meta": meta}, indent=1, ensure_ascii=False) + "\n"
    with atomic_path(destination) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return destination


def load_landmarks(path: str | os.PathLike[str]) -> LandmarkTrack:
    """Read a track that :func:`save_landmarks` wrote, or a plain CSV table with its columns.

    A table without the comment lines has as many frames and slices as its numbers need, and a cycle of one second is
    assumed (``meta["frame_times_assumed"]``).

    Args:
        path: The .csv or .json file.

    Returns:
        Points (T, Z, 2, 3) mm RAS, NaN where there is none; confidence (T, Z, 2), 0 there.

    Raises:
        CardioDiTError: The file is missing, damaged, of another format or version, or holds a point twice, outside of
            its frames and slices, of another name, with coordinates that are not finite or a confidence that is not
            between 0 and 1.
    """
    source = at_home(path)
    suffix = _known_suffix(source)
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CardioDiTError(f"'{source}' cannot be read: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise CardioDiTError(f"'{source.name}' is not a text file.", "Give a landmark file.") from error
    try:
        head, entries, meta = _parsed_csv(text) if suffix == ".csv" else _parsed_json(text)
        return _track(head, entries, meta)
    except CardioDiTError as error:
        raise CardioDiTError(f"'{source.name}': {error.message}", error.hint) from error


def _known_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CardioDiTError(f"'{path.name}' is no landmark file.", "Use .csv or .json.")
    return suffix


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _entries(track: LandmarkTrack) -> Iterable[dict[str, Any]]:
    for frame, level, kind in np.argwhere(track.found).tolist():
        confidence = float(track.confidence[frame, level, kind])
        x, y, z = track.points[frame, level, kind].tolist()
        values = (frame, level, POINT_NAMES[kind], x, y, z, confidence)
        yield dict(zip(COLUMNS, values))


_Parsed = tuple[Mapping[str, Any], list[tuple[str, Mapping[str, Any]]], dict[str, Any]]


def _parsed_csv(text: str) -> _Parsed:
    """Head, entries with the place they stand at, and meta."""
    lines = text.splitlines()
    head: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    skipped = 0
    for line in lines:
        if not line.startswith("#"):
            break
        skipped += 1
        name, colon, value = line[1:].partition(":")
        name = name.strip()
        if not colon:
            continue
        if name == "meta":
            meta = decode_meta(value.strip())
            continue
        try:
            head[name] = parse_json(value)
        except ValueError as error:
            raise CardioDiTError(f"Line {skipped} cannot be read: {line[:60]}.", "Write the file again.") from error
    reader = csv.reader(lines[skipped:], strict=True)
    try:
        rows = [(skipped + reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise CardioDiTError(f"The table is damaged: {error}.", "Write the file again.") from error
    columns = tuple(cell.strip() for cell in rows[0][1]) if rows else ()
    if sorted(columns) != sorted(COLUMNS):
        raise CardioDiTError(
            f"The columns are {', '.join(columns) or 'missing'}.", f"They have to be {', '.join(COLUMNS)}."
        )
    entries: list[tuple[str, Mapping[str, Any]]] = []
    for number, row in rows[1:]:
        if len(row) != len(columns):
            raise CardioDiTError(
                f"Line {number} has {len(row)} cells.", f"Give {len(columns)}; the file may be cut off."
            )
        entries.append((f"Line {number}", dict(zip(columns, row))))
    return head, entries, meta


def _parsed_json(text: str) -> _Parsed:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise CardioDiTError(f"It is not JSON: {error}.", "Write the file again; it may be cut off.") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CardioDiTError("It is no landmark file.", "Give a file that was written as one.")
    points, meta = content.get("points"), content.get("meta", {})
    if not isinstance(points, list) or not all(isinstance(p, dict) for p in points) or not isinstance(meta, dict):
        raise CardioDiTError("It has no list of points.", "Write the file again.")
    entries = [(f"Point {number}", point) for number, point in enumerate(points)]
    for place, entry in entries:
        if sorted(entry) != sorted(COLUMNS):
            raise CardioDiTError(
                f"{place} has the fields {', '.join(entry)}.", f"They have to be {', '.join(COLUMNS)}."
            )
    return content, entries, meta


def _track(
    head: Mapping[str, Any], entries: list[tuple[str, Mapping[str, Any]]], meta: dict[str, Any]
) -> LandmarkTrack:
    if head.get("format", _FORMAT) != _FORMAT or head.get("version", _VERSION) != _VERSION:
        raise CardioDiTError(
            f"It is of format '{head.get('format')}' version {head.get('version')}.", "Update CardioDiT to read it."
        )
    if head.get("coordinates", "mm RAS") != "mm RAS":
        raise CardioDiTError(f"Its coordinates are '{head['coordinates']}'.", "Give mm in RAS.")
    read = [_entry(place, entry) for place, entry in entries]
    needed = [max((place[k] for _, place, _ in read), default=-1) + 1 for k in (0, 1)]
    sizes = []
    for name, at_least in zip(("frames", "slices"), needed):
        size = head.get(name, max(at_least, 1))
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise CardioDiTError(f"It says {name}: {size!r}.", "Give a whole number of at least 1.")
        if at_least > size:
            raise CardioDiTError(f"It has {size} {name} but a point in number {at_least - 1}.", "Count from 0.")
        sizes.append(size)
    frames, slices = sizes
    if frames * slices > _MOST_CELLS:
        raise CardioDiTError(f"{frames} frames of {slices} slices are no cine.", "Count frames and slices from 0.")
    points = np.full((frames, slices, 2, 3), np.nan)
    confidence = np.zeros((frames, slices, 2))
    for where, place, values in read:
        if not np.isnan(points[place][0]):
            frame, level, kind = place
            raise CardioDiTError(
                f"{where} gives the {POINT_NAMES[kind]} point of frame {frame}, slice {level} once more.",
                "Give every point once.",
            )
        points[place], confidence[place] = values[:3], values[3]
    times = head["frame_times_s"] if "frame_times_s" in head else assumed_times(frames, meta)
    return LandmarkTrack(points, confidence, np.asarray(times), meta)


def _entry(where: str, entry: Mapping[str, Any]) -> tuple[str, tuple[int, int, int], list[float]]:
    """Place and values of one point, checked."""
    numbers = []
    for name in ("frame", "slice"):
        text = str(entry[name]).strip()
        if isinstance(entry[name], bool) or not (text.isascii() and text.isdigit() and len(text) < 10):
            raise CardioDiTError(f"{where} has the {name} '{entry[name]}'.", "Give a whole number, counted from 0.")
        numbers.append(int(text))
    name = str(entry["point"]).strip()
    if name not in POINT_NAMES:
        raise CardioDiTError(f"{where} names a point '{name}'.", f"Points are called {' and '.join(POINT_NAMES)}.")
    values = []
    for column in COLUMNS[3:]:
        try:
            value = float("nan") if isinstance(entry[column], bool) else float(entry[column])
        except (TypeError, ValueError):
            value = float("nan")
        if not math.isfinite(value):
            raise CardioDiTError(
                f"{where} has '{entry[column]}' for {column}.", "Give a number; leave out lost points."
            )
        values.append(value)
    if not 0 <= values[3] <= 1:
        raise CardioDiTError(f"{where} has a confidence of {values[3]:g}.", "Give a number from 0 to 1.")
    return where, (numbers[0], numbers[1], POINT_NAMES.index(name)), values

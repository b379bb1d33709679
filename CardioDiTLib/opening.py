"""The facade's functions also take paths and show a bar in a terminal; the rooms' own functions do neither."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import at_home

READS: dict[str, dict[str, str]] = {
    "animated_gif": {"cine": "picture", "segmentation": "segmentation"},
    "audit_memorization": {},
    "cardiac_function": {"segmentation": "segmentation", "landmarks": "landmarks"},
    "compare_models": {"real": "cohort", "models": "cohorts"},
    "contact_sheet": {"cine": "picture", "segmentation": "segmentation"},
    "detect_landmarks": {"cine": "cine", "segmentation": "segmentation"},
    "evaluate_landmarks": {"predicted": "tracks", "truth": "tracks"},
    "evaluate_synthesis": {"real": "cohort", "synthetic": "cohort"},
    "generate_gated": {},
    "landmarks_from_segmentation": {"segmentation": "segmentation"},
    "measure": {"cine": "cine"},
    "plot": {"what": "picture", "segmentation": "segmentation"},
    "save_cine": {"cine": "cine"},
    "save_film": {"cine": "picture", "segmentation": "segmentation"},
    "save_segmentation": {"segmentation": "segmentation"},
    "segment": {"cine": "cine"},
    "track_landmarks": {"track": "landmarks"},
}
"""Arguments of functions that may be given as paths, and what lies there; all of these functions show bars."""


def opened(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the facade.

    Args:
        name: Its name, a key of `READS`.
        function: The room's own.

    Returns:
        The same function that reads what it is given as a path, says in one sentence what it was given instead of what
        it needs, and without `progress` shows a bar where somebody looks at a terminal.
    """
    reads = READS[name]
    signature = inspect.signature(function)
    tells = next((one for one in ("progress", "judged") if one in signature.parameters), None)

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        bound = signature.bind(*arguments, **options)
        for argument, kind in reads.items():
            given = bound.arguments.get(argument)
            if given is None and signature.parameters[argument].default is None:
                continue
            label_map = bound.arguments.get("label_map") if kind == "segmentation" else None
            if label_map is not None and isinstance(given, str | os.PathLike):
                # it is about the numbers in the file, which reading replaces
                bound.arguments[argument] = _labels(Path(given), label_map)
                del bound.arguments["label_map"]
            else:
                bound.arguments[argument] = _read(given, kind, name)
        if tells is None or bound.arguments.get(tells) is not None or not sys.stderr.isatty():
            return function(*bound.args, **bound.kwargs)
        with _bar(name) as bar:
            bound.arguments[tells] = bar if tells == "progress" else _verdicts(bar, bound.arguments["request"])
            return function(*bound.args, **bound.kwargs)

    return call


def _read(value: Any, kind: str, name: str) -> Any:
    from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation

    if kind == "cohorts" and isinstance(value, Mapping):
        return {key: _read(one, "cohort", name) for key, one in value.items()}
    if kind == "tracks" and isinstance(value, Sequence) and not isinstance(value, str):
        return [_read(one, "landmarks", name) for one in value]
    kind = "landmarks" if kind == "tracks" else kind
    if isinstance(value, str | os.PathLike):
        return _load(at_home(value), kind)
    wanted = {"cine": Cine, "segmentation": Segmentation, "landmarks": LandmarkTrack}.get(kind)
    if wanted is not None and not isinstance(value, wanted):
        hint = f"Give a {wanted.__name__}, or the path of its file."
        if wanted is Segmentation and isinstance(value, Cine):
            hint = "Segment the cine first: its labels say where the ventricles are, its grey values do not."
        raise CardioDiTError(f"'{name}' needs a {wanted.__name__}, this is a {type(value).__name__}.", hint)
    return value


def _load(path: Path, kind: str) -> Any:
    if kind == "cohort":
        from CardioDiTLib.evaluation.cohort import cohort_from_folder, cohort_from_pack

        return cohort_from_pack(path) if path.suffix.lower() == ".npz" else cohort_from_folder(path)
    if kind == "landmarks":
        from CardioDiTLib.landmarks.files import load_landmarks

        return load_landmarks(path)
    if kind == "segmentation":
        return _labels(path)
    from CardioDiTLib.io import load_cine

    return load_cine(path)


def _labels(path: Path, label_map: Mapping[int, int] | str | None = None) -> Any:
    from CardioDiTLib.io import load_segmentation

    return load_segmentation(path, label_map=label_map)


@contextmanager
def _bar(name: str) -> Iterator[Callable[..., None]]:
    """A bar that takes (done, of), also with what is being done in front."""
    from tqdm import tqdm

    with tqdm(desc=name.replace("_", " "), file=sys.stderr, disable=None, leave=False) as bar:

        def show(*told: Any) -> None:
            *what, done, of = told
            if what:
                bar.set_description_str(str(what[0]), refresh=False)
            bar.total, bar.n = of, done
            bar.refresh()

        yield show


def _verdicts(bar: Callable[..., None], request: Any) -> Callable[[int, int, Any], None]:
    """What a gate tells, as cines that passed."""

    def show(place: int, attempt: int, verdict: Any) -> None:
        bar(f"gate, draw {attempt + 1} of cine {place}", place + bool(verdict.passed), request.count)

    return show

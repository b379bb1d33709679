"""What a user gets, frozen: run the same orders on two states of the tree and show every difference.

    python Testing/benchmarks/freeze.py --write before.json
    python Testing/benchmarks/freeze.py --against before.json --checkout OTHER_TREE

The orders go through what is promised to stay alone: the command line, the worker's lines, and ``import CardioDiTLib as
cd``; nothing else of the library is imported, so the same script runs on any state of the tree. Every file that an
order writes is kept as a SHA-256, and where it can be read as text also as that text, after seconds, dates, absolute
folders, process numbers and versions of packages were masked. One thread, CPU, float32. Bits depend on processor and
torch: compare on one machine. ``--begin-with TREE`` lets another tree start every training that is interrupted (and the
runs that are resumed), so that files of the one are gone on with by the other.
"""

from __future__ import annotations

import argparse
import base64
import difflib
import fnmatch
import gzip
import hashlib
import io
import json
import os
import platform
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

LINES_SHOWN = 20
LONGEST_S = 240
STEPS = ("--steps", "8", "--device", "cpu")
GENERATE = (*STEPS, "--precision", "fp32", "-q")
FEW = ("--steps", "4", *GENERATE[2:])

COMMANDS = (
    *((), ("generate",), ("complete",), ("vary",), ("convert",), ("measure",), ("segment",), ("landmarks",)),
    *(("evaluate",), ("evaluate", "landmarks"), ("evaluate", "synthesis"), ("audit",), ("function",), ("models",)),
    *(("models", one) for one in ("list", "info", "verify", "available", "add", "forget", "download", "import")),
    *(("models", "remove"), ("prepare",), ("train",), ("import",)),
)

# ---------------------------------------------------------------------------------------------------------------------
# Settings of the tiny trainings

_CODEC = """
  stage:
    model: &codec
      num_channels: [8, 16]
      num_res_channels: [8, 16]
      num_res_layers: 1
      downsample_parameters: [[2, 4, 1, 1], [2, 4, 1, 1]]
      upsample_parameters: [[2, 4, 1, 1, 0], [2, 4, 1, 1, 0]]
      num_embeddings: 32
      embedding_dim: 4
      cyclic_time: true
    batch: 2
    crop: 32
    adversarial_start: 0.3
    discriminator_channels: 4
    discriminator_layers: 2
"""
GENERATOR = f"""
name: tiny
grid: {{slices: 8, size: 32, frames: 8}}
vqgan:
  loop: {{steps: 3, warmup_steps: 1, validate_every: 3, log_every: 1, save_every_s: 0}}
{_CODEC}
decoder:
  loop: {{steps: 2, warmup_steps: 1, validate_every: 2, log_every: 1, save_every_s: 0}}
  stage: {{model: *codec, batch: 2, crop: 32, adversarial_start: 1.0, decoder_only: true, latent_noise: 0.2,
          motion_energy_weight: 1, ssim_weight: 0.1}}
latents: {{quantised: false, augmentation: {{copies: 2, shift_px: 2, morphs: true, free_share: 0.5}}}}
dit:
  loop: {{steps: 3, warmup_steps: 1, validate_every: 3, log_every: 1, save_every_s: 0}}
  stage:
    model: {{input_size: [8, 8, 8, 2], patch_size: [1, 2, 2, 1], in_channels: 4, hidden_size: 32, depth: 2,
            num_heads: 2, class_dropout_prob: 0.2, num_classes: 2, num_conditions: 4}}
    batch: 2
    optimizer: muon
    log_snr_mean: 0
    schedule: {{name: cosine, num_train_timesteps: 300, prediction_type: v_prediction, continuous: true}}
refiner:
  loop: {{steps: 2, warmup_steps: 1, validate_every: 2, log_every: 1, save_every_s: 0}}
  stage:
    model: {{latent_size: [8, 8, 8, 2], latent_channels: 4, image_size: [32, 32, 8], widths: [8, 8, 16],
            depths: [1, 1, 1]}}
    data: {{copies: 2, steps: 2}}
    slices: 2
    adversarial_start: 0.4
    critic_channels: 4
    critic_frames: 2
"""
PLANES = """
name: tiny
frames: 4
field_mm: 60
{more}
{stage}:
  loop: {{steps: 3, warmup_steps: 1, validate_every: 3, log_every: 1, save_every_s: 0, threads: 1}}
  stage:
    network: {{channels: [4, 8, 8], res_units: 1, spacing_mm: 3}}
    batch: 2
    crop: 32
"""
PUBLISHED_LANDMARKS = """
name: tiny-published
frames: 4
field_mm: 60
published:
  loop: {steps: 2, warmup_steps: 0, validate_every: 2, log_every: 1, save_every_s: 0, threads: 1}
  stage:
    network: {channels: [4, 8, 8], dropout: [0.1, 0.1, 0.1], spacing_mm: 3, size: 32}
    variant: var2
    normalisation: joint
    batch: 2
"""
ENCODER = """
name: tiny
frames: 4
encoder:
  loop: {steps: 2, warmup_steps: 1, validate_every: 2, log_every: 1, save_every_s: 0, threads: 1}
  stage:
    network: {channels: [8, 8], hidden: 16, dimension: 8, size: 16, spacing_mm: 6}
    views: {slices: 2}
    batch: 3
    frames: 4
    validation_views: 2
"""
PUBLISHED_ENCODER = """
published: true
encoder:
  loop: {steps: 2, warmup_steps: 1, final_lr_share: 0.5, validate_every: 2, log_every: 1, threads: 1}
  stage: {downsample: [1, 4, 4], size: 16, spacing_mm: 6, batch: 3, validation_views: 2}
"""
TEXTS = {
    "version": "1.2.3",
    "licence": {"name": "CC0", "conditions": "None."},
    "training_data": {"data_source": "generated cines"},
}
MORE_TEXTS = {**TEXTS, "quality": {"note": "tiny"}}

# ---------------------------------------------------------------------------------------------------------------------
# What is run inside a process of the tree: the facade alone

SIGNATURES = r"""
import inspect, json, re
import CardioDiTLib as cd
first = [name for name in dir(cd) if not name.startswith("_")]

def signature(what):
    try:
        shown = str(inspect.signature(what))
        return re.sub(r"CardioDiTLib(\.\w+)*\.| at 0x[0-9a-f]+", "", shown)
    except (TypeError, ValueError):
        return "?"

def described(value):
    if inspect.isclass(value):
        lines = {"": "class" + signature(value), "bases": [one.__name__ for one in value.__mro__[1:-1]]}
        for name in sorted(dir(value)):
            if name.startswith("_"):
                continue
            member = inspect.getattr_static(value, name)
            if isinstance(member, property):
                lines[name] = "property"
            elif isinstance(member, (classmethod, staticmethod)):
                lines[name] = type(member).__name__ + signature(member.__func__)
            elif callable(member):
                lines[name] = signature(member)
            else:
                lines[name] = type(member).__name__
        for name in getattr(value, "__dataclass_fields__", {}):
            lines.setdefault(name, "field")
        return lines
    if callable(value):
        return signature(value)
    return type(value).__name__

found = {"dir": first, "all": list(cd.__all__), "names": {}}
for name in sorted(set(cd.__all__) | set(getattr(cd, "_ROOMS", ()))):
    value = getattr(cd, name)
    if inspect.ismodule(value):
        public = sorted(getattr(value, "__all__", ()))
        found["names"][name] = {one: described(getattr(value, one)) for one in public}
    else:
        found["names"][name] = described(value)
print(json.dumps(found, indent=1))
"""
FACADE = r"""
import dataclasses, json, sys
from pathlib import Path
import numpy as np
import CardioDiTLib as cd
source, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir()
torch_free = "torch" not in sys.modules
generator = cd.Generator.from_bundle("acdc-mini", "cpu", "fp32")
told = []
request = cd.GenerationRequest(seed=5, steps=4, pathology="HCM", precision="fp32", device="cpu")
result = generator.generate(request, progress=lambda event: told.append((event.stage, event.step, event.of)))[0]
np.save(out / "array.npy", result.cine.array)
np.save(out / "labels.npy", result.segmentation.array)
cd.save_results([result], out, ("nii.gz", "json"))
cd.save_cine(result.cine, out / "heart.seq.nrrd")
cd.save_segmentation(result.segmentation, out / "labels.seq.nrrd")
cine, labels = cd.load_cine(out / "heart.seq.nrrd"), cd.load_segmentation(out / "labels.seq.nrrd")
points = cd.landmarks_from_segmentation(labels)
np.save(out / "points.npy", points.points)
tracked = cd.track_landmarks(points)
cd.save_landmarks(tracked, out / "points.csv")
cd.save_landmarks(cd.load_landmarks(out / "points.csv"), out / "points.json")
report = cd.cardiac_function(labels, tracked, 60.0)
cd.save_report(report, out, "function", labels, cine=cine, landmarks=tracked)
cd.save_film(cine, out / "film.gif", segmentation=labels)
cd.animated_gif(cine, out / "animated.gif")
cd.contact_sheet(cine, out / "sheet.png", segmentation=labels)
np.save(out / "nibabel.npy", np.asarray(cd.to_nibabel(cine).dataobj))
back = cd.from_simpleitk(cd.to_simpleitk(cine))
np.save(out / "simpleitk.npy", back.array)
scores = cd.evaluate_landmarks([points], [tracked], n_resamples=50)
facts = {
    "torch_free": torch_free, "told": told, "request": request.to_dict(), "provenance": result.provenance,
    "report": report.to_dict(), "scores": scores.to_dict(),
    "compare": str(cd.compare_metrics({"a": [points]}, [tracked])), "back": back.affine.tolist(),
    "null": str(cd.null_rate(60, 50, 40)),
}
problems = {}
for name, call in {
    "load_cine": lambda: cd.load_cine("nowhere.nii.gz"),
    "generator": lambda: cd.Generator.from_bundle("nowhere"),
    "request": lambda: cd.GenerationRequest(steps=0),
    "pathology": lambda: generator.generate(cd.GenerationRequest(pathology="XYZ")),
    "segment": lambda: cd.segment(7),
    "measure": lambda: cd.measure(out / "nowhere.nii.gz"),
    "cine": lambda: cd.Cine(np.zeros((2, 2)), np.eye(4), np.zeros(2)),
    "attribute": lambda: cd.nowhere,
    "table": lambda: cd.cohort_table({"a": report, "b": report}).to_csv(out / "cohort.csv"),
}.items():
    try:
        call()
        problems[name] = "none"
    except Exception as error:
        problems[name] = [type(error).__name__, str(error), getattr(error, "hint", None)]
facts["problems"] = problems
(out / "facts.json").write_text(json.dumps(facts, indent=1, default=str))
"""
WHERE = "import CardioDiTLib; print(CardioDiTLib.__file__)"

# ---------------------------------------------------------------------------------------------------------------------
# Masking

TIMED = (
    *(
        "seconds",
        "seconds_total",
        "eta_s",
        "elapsed_s",
        "load_s",
        "step_s",
        "guided_step_s",
        "decode_s",
        "guided_seconds",
    ),
    *("pid", "created", "date", "when", "time", "machine", "host", "free_bytes", "memory", "total_bytes_free"),
)
"""Names of entries that tell when, how fast or where something was made."""
_DATE = re.compile(r"\b20\d\d-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?")
_BAR = re.compile(r"\d+%\|.*|.*(?:it/s|s/it|\?it/s|\?cine/s|cine/s|s/cine).*")
_DATA_URI = re.compile(r"data:([\w/+.-]+);base64,([A-Za-z0-9+/=\s]+)")
_TIMED_JSON = re.compile(rf'("(?:{"|".join(TIMED)})": )(-?[\d.eE+-]+|"[^"]*")')
_VERSIONS = re.compile(
    r'("(?:torch_version|torch|python|python_version|numpy|numpy_version|monai|monai_version)": )"[^"]*"'
)
_LASTS = re.compile(
    r"(?<![\w.])(?:\d+ h )?(?:\d+ min )?\d+(?:\.\d+)? ?(?:s|ms|min|seconds|minutes)\b(?! (?:a|per) beat)"
)
_TIMED_PAIR = re.compile(r'("seconds",\s+)-?[\d.eE+-]+')
_TIMED_WORD = re.compile(r"\bseconds \d[\d.]*")
_TIMED_ROW = re.compile(r"(seconds it took</t[hd]>\s*<td>)[^<]*")
_WARNED = re.compile(r"(?:<[A-Z]+>|/)[^\s:]*\.py:\d+: ")


class Masker:
    """Takes out of texts what differs from run to run though nothing has changed."""

    def __init__(self, places: Sequence[tuple[Path, str]]) -> None:
        self._places = sorted(((str(path), name) for path, name in places), key=lambda pair: -len(pair[0]))

    def text(self, text: str) -> str:
        """Folders, dates, measured seconds and versions of packages become words."""
        for path, name in self._places:
            text = text.replace(path, f"<{name}>")
        text = _TIMED_JSON.sub(r'\1"<TIMED>"', text)
        text = _TIMED_PAIR.sub(r"\1<TIMED>", text)
        text = _VERSIONS.sub(r'\1"<VERSION>"', text)
        text = text.replace(_torch_version(), "<TORCH>")
        return _DATE.sub("<DATE>", text)

    def said(self, text: str) -> str:
        """What a command printed: no bars, no measured seconds, no lines of code in warnings."""
        lines = [line.rstrip() for line in re.split(r"[\r\n]+", text)]
        kept = [line for line in lines if line and not _BAR.search(line)]
        masked = self.text("\n".join(kept))
        return _WARNED.sub("<CODE>: ", _LASTS.sub("<LASTS>", _TIMED_WORD.sub("seconds <TIMED>", masked)))


def _torch_version() -> str:
    from importlib.metadata import version

    return version("torch")


def kept_of(path: Path, masker: Masker) -> dict[str, str]:
    """SHA-256 of a file's masked content, and its text where it can be read as one."""
    data = path.read_bytes()
    name = path.name
    try:
        text = _readable(name, data, masker)
    except Exception as error:
        text = f"unreadable: {type(error).__name__}\n{sha256(data)}"
    if text is None:
        return {"sha256": sha256(data)}
    return {"sha256": sha256(text.encode()), "text": text}


def _readable(name: str, data: bytes, masker: Masker) -> str | None:
    """The masked text of a file; None where its bytes alone count."""
    if name.endswith((".json", ".jsonl")):
        return masker.text(_json_text(data.decode()))
    if name.endswith((".csv", ".md", ".yaml", ".yml", ".txt", ".log")):
        return masker.text(data.decode())
    if name.endswith((".html", ".svg")):
        text = _DATA_URI.sub(lambda found: f"data:{found[1]};{sha256(base64.b64decode(found[2]))}", data.decode())
        return masker.text(_TIMED_ROW.sub(r"\1<TIMED>", text).replace("><", ">\n<"))
    if name.endswith(".safetensors"):
        return masker.text(_safetensors(data))
    if name.endswith((".npz", ".zip")):
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            return "".join(f"{one}: {sha256(parts.read(one))}\n" for one in sorted(parts.namelist()))
    if name.endswith((".nrrd", ".nhdr")):
        head, _, body = data.partition(b"\n\n")
        packed = b"encoding: gzip" in head
        plain = gzip.decompress(body) if packed else body
        return masker.text(f"{head.decode()}\n\n{sha256(plain)}\nfile {sha256(data)}\n")
    if name.endswith(".nii.gz"):
        return _nifti(data, masker)
    if name.endswith(".dcm"):
        return masker.text(_dicom(data))
    return None


def _json_text(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
    except ValueError:  # one object a line
        return "".join(json.dumps(json.loads(line), indent=None) + "\n" for line in text.splitlines())


def _safetensors(data: bytes) -> str:
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    lines = [f"file {sha256(data)}"]
    for name, about in head.items():
        if name == "__metadata__":
            lines.append(json.dumps(about))
            continue
        begin, end = about["data_offsets"]
        lines.append(f"{name} {about['dtype']} {about['shape']} {sha256(data[8 + size + begin : 8 + size + end])[:16]}")
    return "\n".join(lines) + "\n"


def _nifti(data: bytes, masker: Masker) -> str:
    plain = gzip.decompress(data)
    start = int(np.frombuffer(plain[108:112], "<f4")[0])
    image = nib.Nifti1Image.from_bytes(plain)
    contents = [one.get_content() for one in image.header.extensions]
    texts = [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in contents]
    head = "\n".join(f"{key}: {np.asarray(value).tolist()}" for key, value in image.header.items())
    return masker.text("\n".join([f"{head}", *texts, sha256(plain[start:]), f"file {sha256(data)}"]) + "\n")


def _dicom(data: bytes) -> str:
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    lines: list[str] = []
    seen: dict[str, str] = {}

    def walk(part: Any, indent: str) -> None:
        for element in part:
            if element.VR == "SQ":
                lines.append(f"{indent}{element.tag} {element.keyword}")
                for item in element.value:
                    walk(item, indent + "  ")
                continue
            value = element.value
            if element.VR in ("DA", "TM", "DT"):
                shown = f"<{element.VR}>"
            elif element.VR == "UI" and not str(value).startswith("1.2.840.10008"):
                shown = seen.setdefault(str(value), f"<UID {len(seen)}>")
            elif isinstance(value, bytes):
                shown = sha256(value)
            else:
                shown = str(value)
            lines.append(f"{indent}{element.tag} {element.VR} {element.keyword}: {shown}")

    walk(dataset.file_meta, "meta ")
    walk(dataset, "")
    return "\n".join(lines) + "\n"


def sha256(data: bytes) -> str:
    """Of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# Running


class Bench:
    """A scratch folder in which orders are run one after the other, and what came of them.

    Args:
        checkout: The tree that is looked at.
        scratch: Empty folder; orders run in its ``work``.
        begin_with: Tree that starts what is interrupted.
    """

    def __init__(self, checkout: Path, scratch: Path, begin_with: Path) -> None:
        self.work = scratch / "work"
        self.work.mkdir(parents=True)
        self._scratch, self._checkout, self._begin_with = scratch, checkout, begin_with
        trees = [(checkout, "CHECKOUT"), (begin_with, "CHECKOUT")]
        self.masker = Masker([(self.work, "WORK"), (scratch, "SCRATCH"), *trees, (Path(sys.prefix), "PYTHON")])
        self.actions: dict[str, dict[str, Any]] = {}
        self._before = self._stamps()
        self.cpu_s: dict[str, float] = {}

    def environment(self, checkout: Path | None = None) -> dict[str, str]:
        """Nothing of the caller's but the search path."""
        return {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(checkout or self._checkout),
            "PYTHONPYCACHEPREFIX": str(self._scratch / "pycache"),
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1",
            "HOME": str(self._scratch / "home"),
            "CARDIODIT_CACHE": str(self.work / "cache"),
            "MPLCONFIGDIR": str(self._scratch / "matplotlib"),
            "MPLBACKEND": "Agg",
            "TMPDIR": str(self._folder("tmp")),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "COLUMNS": "100",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
        }

    def _folder(self, name: str) -> Path:
        (self._scratch / name).mkdir(exist_ok=True)
        return self._scratch / name

    def cli(self, name: str, *words: object, only: str = "*", begin: bool = False) -> int:
        """Run ``python -m CardioDiTLib`` and keep what it said and wrote.

        Args:
            name: Of the action.
            words: Of the command line.
            only: Pattern of the files that count.
            begin: Whether this is the part that `begin_with` does.
        """
        return self.python(name, "-m", "CardioDiTLib", *words, only=only, begin=begin)

    def python(self, name: str, *words: object, only: str = "*", begin: bool = False) -> int:
        """Run a Python process, as `cli`."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        tree = self._begin_with if begin else self._checkout
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=self.work,
            env=self.environment(tree),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=4 * LONGEST_S,
        )
        self._note(name, before)
        said, complained = (self.masker.said(one.decode(errors="replace")) for one in (done.stdout, done.stderr))
        self.keep(name, {"exit": str(done.returncode), "stdout": said, "stderr": complained}, only)
        return done.returncode

    def killed(self, *words: object, when: str) -> None:
        """Run the command line and end it by force as soon as a file of this pattern is there; nothing is kept."""
        process = subprocess.Popen(
            [sys.executable, "-m", "CardioDiTLib", *map(str, words)],
            cwd=self.work,
            env=self.environment(self._begin_with),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + LONGEST_S
        while process.poll() is None and time.monotonic() < end and not any(self.work.glob(when)):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._before = self._stamps()

    def keep(self, name: str, texts: dict[str, str], only: str = "*") -> None:
        """Keep texts of an action and every file that is new, changed or gone since the last one."""
        if name in self.actions:
            raise ValueError(f"two actions are called {name}")
        now = self._stamps()
        files: dict[str, dict[str, str]] = {}
        for path, stamp in now.items():
            if self._before.get(path) != stamp and fnmatch.fnmatch(path, only):
                files[self.masker.text(path)] = kept_of(self.work / path, self.masker)
        gone = sorted(path for path in self._before if path not in now and fnmatch.fnmatch(path, only))
        self.actions[name] = {"texts": texts, "files": files, "gone": [self.masker.text(path) for path in gone]}
        self._before = now

    def ignore_changes(self) -> None:
        """What was written by hand since the last action is nobody's result."""
        self._before = self._stamps()

    def _note(self, name: str, before: Any) -> None:
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_s[name] = now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime
        print(f"{self.cpu_s[name]:6.1f} s  {name}", file=sys.stderr, flush=True)

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file."""
        found = {}
        for path in sorted(self.work.rglob("*")):
            if path.is_file():
                about = path.stat()
                found[path.relative_to(self.work).as_posix()] = (about.st_size, about.st_mtime_ns)
        return found


class Worker:
    """A worker process: requests in, all of its events kept."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "CardioDiTLib.worker"],
            cwd=bench.work,
            env=bench.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.transcript: list[str] = []

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("CARDIODIT "):
                self._events.put(json.loads(line[len("CARDIODIT ") :]))
        self._events.put(None)

    def line(self, line: str) -> None:
        """Send a line as it is."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def send(self, number: str, command: str, **arguments: Any) -> None:
        """Send a request."""
        self.line(json.dumps({"id": number, "command": command, "arguments": arguments}))

    def until(self, *kinds: str, number: str | None = None) -> dict[str, Any]:
        """Keep events until one of these kinds (and of this request) has come; it is the answer."""
        last = self.transcript[-1] if self.transcript else ""
        while True:
            event = self._events.get(timeout=LONGEST_S)
            if event is None:
                self.transcript.append("(the worker ended)")
                return {}
            shown = _event_text(event)
            if shown != last:
                self.transcript.append(shown)
            last = shown
            if event["event"] in kinds and (number is None or event.get("id") == number):
                return event

    def ask(self, number: str, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its end."""
        self.send(number, command, **arguments)
        return self.until("result", "error", "cancelled", number=number)

    def end(self) -> int:
        """Wait for the process to end."""
        code = self.process.wait(timeout=LONGEST_S)
        while self._events.get(timeout=LONGEST_S) is not None:
            pass
        self._bench._note("worker", self._before)
        return code


def _event_text(event: dict[str, Any]) -> str:
    """An event: kind, stage and names of entries of progress (how many there are depends on time), all of others."""
    if event["event"] == "progress":
        names = sorted(key for key in event if key not in ("preview", "preview_frames", "preview_spacing_mm"))
        return f"progress {event.get('id')} {event.get('stage')} {names}"
    return json.dumps(event, indent=1, sort_keys=True)


# ---------------------------------------------------------------------------------------------------------------------
# The actions


def run_all(bench: Bench) -> None:
    """Everything, in order: later actions read what earlier ones wrote."""
    if bench.python("where", "-c", WHERE) or "<CHECKOUT>" not in bench.actions["where"]["texts"]["stdout"]:
        raise SystemExit(f"The library is not taken from the checkout: {bench.actions['where']['texts']}")
    for words in COMMANDS:
        bench.cli(" ".join(("help", *words)), *words, "--help")
    bench.python("help worker", "-m", "CardioDiTLib.worker", "--help")
    bench.python("signatures", "-c", SIGNATURES)
    for part in (generation, measuring, judging, models, packs, training, published, wrong_orders, facade, worker):
        part(bench)


def generation(bench: Bench) -> None:
    """Cines of the embedded bundle."""
    every = "nii.gz,seq.nrrd,labels.nii.gz,labels.seq.nrrd,png,gif,html,json"
    bench.cli("generate", "generate", "-n", 2, "-s", 3, "-p", "NOR,DCM", "-f", every, "-o", "made", *GENERATE)
    aims = ("--ef-percent", 55, "--edv-ml", 140, "--adjust", 1, "-f", "nii.gz,json")
    bench.cli("generate steered", "generate", "-s", 4, "-p", "HCM", "-g", 2, *aims, "-o", "steered", *FEW)
    bench.cli("generate gated", "generate", "-s", 5, "--gate", "-f", "nii.gz,json", "-o", "gated", *FEW)
    other = ("--sampler", "ddpm", "--batch-size", 1, "--cycle-s", 0.8, "--first-index", 2, "-f", "nii.gz,json")
    bench.cli("generate ddpm", "generate", "-n", 1, *other, "-o", "ddpm", *FEW)
    cohort = ("generate", "-s", 11, "-p", "NOR", "-f", "nii.gz,labels.nii.gz,json", "-o", "cohort", *FEW)
    bench.cli("generate cohort begun", *cohort, "-n", 2, begin=True)
    bench.cli("generate cohort exists", *cohort, "-n", 2)
    bench.cli("generate cohort resumed", *cohort, "-n", 4, "--resume")


def _made(bench: Bench, folder: str, number: int, ending: str) -> Path:
    """The cine of a number; relative to the folder of work."""
    labels = "_segmentation" in ending
    paths = [path for path in sorted((bench.work / folder).glob(f"*_{number:03d}*")) if path.name.endswith(ending)]
    [path] = [path for path in paths if ("_segmentation" in path.name) == labels]
    return path.relative_to(bench.work)


def measuring(bench: Bench) -> None:
    """Labels, points, function, files."""
    cine = _made(bench, "made", 0, ".nii.gz")
    sequence = _made(bench, "made", 1, ".seq.nrrd")
    labels = _made(bench, "made", 0, "_segmentation.nii.gz")
    cpu = ("--device", "cpu")
    for number in (0, 1):
        _shortened(bench.work / _made(bench, "cohort", number, ".nii.gz"), bench.work / f"few{number}.nii.gz")
    bench.ignore_changes()
    bench.cli("convert nrrd", "convert", cine, "heart.seq.nrrd")
    bench.cli("convert nifti", "convert", sequence, "heart.nii.gz", "--frame-interval-s", 0.05)
    bench.cli("convert png", "convert", cine, "heart.png")
    bench.cli("convert gif", "convert", cine, "heart.gif")
    bench.cli("convert dicom", "convert", "few0.nii.gz", "heart.dcm")
    bench.cli("convert multi-frame", "convert", "few0.nii.gz", "one.dcm", "--multi-frame")
    bench.cli("convert from dicom", "convert", "heart.dcm", "back.nii.gz")
    bench.cli("convert folder", "convert", "gated", "converted", "--to", ".seq.nrrd")
    bench.cli("segment", "segment", cine, "labels.nii.gz", "--no-mirrored", *cpu)
    bench.cli("segment raw", "segment", "few0.nii.gz", "raw.seq.nrrd", "--raw", "--no-mirrored", *cpu)
    bench.cli("landmarks", "landmarks", cine, "points.csv", "--segmentation", labels, *cpu)
    bench.cli("landmarks network", "landmarks", "few0.nii.gz", "network.json", "--method", "network", *cpu)
    bench.cli("landmarks labels", "landmarks", labels, "ends.csv")
    bench.cli("landmarks tracked", "landmarks", labels, "tracked.json", "--track", "--swap")
    more = ("--cine", cine, "--landmarks", "points.csv", "--heart-rate", 60)
    bench.cli("function", "function", labels, *more, "-o", "function", "-f", "json,csv,html")
    bench.cli("function plain", "function", labels, "--no-stack-covers-heart", "--names", "-o", "plain")
    bench.cli("measure", "measure", sequence, "-o", "measured", "-f", "json,csv,html", "--no-mirrored", *cpu)
    dicom = ("--dicom", "--no-mirrored", "-f", "json", *cpu)
    bench.cli("measure dicom", "measure", "heart.dcm", "-o", "measured-dicom", *dicom)
    (bench.work / "folder").mkdir()
    for number in (0, 1):
        shutil.copy(bench.work / f"few{number}.nii.gz", bench.work / "folder" / f"heart{number}.nii.gz")
    (bench.work / "folder" / "damaged.nii.gz").write_bytes(b"no picture")
    bench.ignore_changes()
    bench.cli("measure folder", "measure", "folder", "-o", "measured-folder", "--no-mirrored", "--names", *cpu)
    bench.cli("measure folder again", "measure", "folder", "-o", "measured-folder", "--no-mirrored", "--names", *cpu)
    given = ("--segmentation", labels, "--steps", 4, "--device", "cpu", "-q")
    bench.cli("complete", "complete", cine, "completed.nii.gz", "--missing-slices", "2,4", *given)
    parts = ("--missing-frames", "3-5", "--source-grid")
    bench.cli("complete frames", "complete", cine, "completed.seq.nrrd", *parts, *given)
    bench.cli("vary", "vary", cine, "-o", "varied", "-n", 1, "-p", "DCM", *given)


def _shortened(source: Path, destination: Path) -> None:
    """Every fourth frame of a cine, to be measured quickly."""
    image = _volumes(source)
    few = nib.Nifti1Image(np.asarray(image.dataobj)[..., ::4], image.affine, image.header)  # type: ignore[attr-defined]
    few.header.set_zooms((*image.header.get_zooms()[:3], 4 * image.header.get_zooms()[3]))
    nib.save(few, destination)  # type: ignore[attr-defined]


def judging(bench: Bench) -> None:
    """Audit and evaluation."""
    (bench.work / "train").mkdir()
    (bench.work / "synthetic").mkdir()
    for number in range(4):
        path = _made(bench, "cohort", number, ".nii.gz")
        shutil.copy(bench.work / path, bench.work / "train" / path.name)
    for number in (0, 1):
        for ending in (".nii.gz", "_segmentation.nii.gz"):
            path = _made(bench, "made", number, ending)
            shutil.copy(bench.work / path, bench.work / "synthetic" / path.name)
    bench.ignore_changes()
    outs = [word for kind in ("json", "csv", "html", "md") for word in ("-o", f"audit/r.{kind}")]
    sets = ("--train", "train", "--validation", "gated", "--synthetic")
    bench.cli("audit", "audit", *sets, "synthetic", *outs, "--published", "--pictures", "-q")
    outs = [word for kind in ("json", "csv", "html", "md") for word in ("-o", f"audit-bundle/r.{kind}")]
    bench.cli("audit bundle", "audit", "--bundle", "acdc-mini", "--synthetic", "synthetic", *outs, "--names", "-q")
    rng = np.random.default_rng(0)
    train, aside = rng.normal(size=(60, 32)), rng.normal(size=(50, 32))
    copies = np.concatenate([train[:10] + 0.02 * rng.normal(size=(10, 32)), rng.normal(size=(30, 32))])
    for name, table in (("train", train), ("aside", aside), ("copies", copies)):
        np.save(bench.work / f"{name}.npy", table.astype(np.float32))
    bench.ignore_changes()
    tables = ("--train", "train.npy", "--validation", "aside.npy", "--synthetic", "copies.npy")
    bench.cli("audit tables", "audit", *tables, "-o", "audit-tables.json", "--published", "--fail-on-copies", "-q")
    reports = [word for kind in ("json", "csv", "html", "md") for word in ("-o", f"synthesis/r.{kind}")]
    cohorts = ("--real", "cohort", "--synthetic", "synthetic", "--resamples", 20)
    bench.cli("evaluate synthesis", "evaluate", "synthesis", *cohorts, *reports)
    points = ("--truth", "ends.csv", "--predicted", "a=points.csv", "b=tracked.json", "--resamples", 50)
    bench.cli("evaluate landmarks", "evaluate", "landmarks", *points, "--json", "landmarks-scores.json")


def models(bench: Bench) -> None:
    """Bundles, with nothing from the net."""
    bench.cli("models list", "models", "list")
    bench.cli("models list json", "models", "list", "--json")
    bench.cli("models info", "models", "info", "acdc-mini")
    bench.cli("models info json", "models", "info", "acdc-mini", "--json")
    bench.cli("models available", "models", "available")
    bench.cli("models verify", "models", "verify")
    listed = json.loads(bench.actions["models list json"]["texts"]["stdout"])
    place = next(one for one in listed if one["name"] == "acdc-mini")["folder"]
    source = Path(place.replace("<CHECKOUT>", bench.environment()["PYTHONPATH"]))
    shutil.copytree(source, bench.work / "copied")
    with zipfile.ZipFile(bench.work / "damaged.zip", "w") as parts:
        for path in sorted(source.iterdir()):
            parts.writestr(f"acdc-mini/{path.name}", path.read_bytes()[:2000])
    bench.ignore_changes()
    bench.cli("models import embedded", "models", "import", "copied", "-q")
    bench.cli("models import damaged", "models", "import", "damaged.zip", "--overwrite", "-q")
    bench.cli("models verify folder", "models", "verify", "./copied")
    largest = max((bench.work / "copied").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    bench.ignore_changes()
    bench.cli("models verify damaged", "models", "verify", "./copied")
    bench.cli("generate damaged", "generate", "-m", "./copied", "-o", "never", *GENERATE)
    bench.cli("models remove embedded", "models", "remove", "acdc-mini")


def packs(bench: Bench) -> None:
    """Training packs of ED/ES pairs and of cines; the patients are generated cines."""
    folder = bench.work / "acdc"
    folder.mkdir()
    rows = ["pid,pathology,n_frames,ed_frame,es_frame"]
    for number in range(10):
        group, (place, n) = ("NOR", ("cohort", number % 4)) if number < 8 else ("DCM", ("made", number - 8))
        images = _volumes(bench.work / _made(bench, place, n, ".nii.gz"))
        labels = _volumes(bench.work / _made(bench, place, n, "_segmentation.nii.gz"))
        frame = int(np.argmin((labels.get_fdata() == 3).sum((0, 1, 2))))
        es = frame if number < 4 or number >= 8 else frame - 1
        affine = np.diag([*images.header.get_zooms()[:3], 1.0])
        for part, t in (("ED", 0), ("ES", es)):
            for kind, image in (("", images), ("_gt", labels)):
                data = np.asarray(image.dataobj)[..., t]
                nib.save(nib.Nifti1Image(data, affine), folder / f"p{number}_{part}{kind}.nii.gz")  # type: ignore[attr-defined]
        rows.append(f"p{number},{group},16,0,{es}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    bench.ignore_changes()
    bench.cli("prepare acdc", "prepare", "acdc", "acdc", "pairs.npz", "--size", 40)
    grid = ("--size", 40, "--slices", 4, "--frames", 8, "--keep-aside", 0.3, "--spacing", 3, 3, 10)
    bench.cli("prepare cines", "prepare", "cines", "cohort", "cines.npz", *grid)


def _volumes(path: Path) -> Any:
    return nib.load(path)  # type: ignore[attr-defined]


def training(bench: Bench) -> None:
    """Tiny trainings: whole, in pieces, killed; their bundles, and cines of one of them."""
    settings = {
        "tiny.yaml": GENERATOR,
        "segmentation.yaml": PLANES.format(stage="segmentation", more=""),
        "landmarks.yaml": PLANES.format(stage="landmarks", more="rule: {presence: 0.4, window_mm: 6}"),
        "published.yaml": PUBLISHED_LANDMARKS,
        "encoder.yaml": ENCODER,
        "published-encoder.yaml": PUBLISHED_ENCODER,
        "texts.json": json.dumps(TEXTS),
        "more-texts.json": json.dumps(MORE_TEXTS),
        "card.md": "# Tiny\n",
    }
    for name, text in settings.items():
        (bench.work / name).write_text(text, encoding="utf-8")
    bench.ignore_changes()
    generator = ("--config", "tiny.yaml", "--data", "pairs.npz", "--out")
    bench.cli("train all", "train", "all", *generator, "run")
    _last_checkpoints(bench, "train all: last checkpoints", "run")
    for stage in ("vqgan", "latents"):
        bench.cli(f"train {stage} in pieces", "train", stage, *generator, "pieces", begin=True)
    _pieces(bench, "train dit in pieces", "dit", *generator, "pieces")
    bench.cli("train all in pieces", "train", "all", *generator, "pieces")
    _last_checkpoints(bench, "train all in pieces: last checkpoints", "pieces")
    bench.killed("train", "vqgan", *generator, "killed", when="killed/vqgan/*/*.json")
    bench.cli("train killed goes on", "train", "vqgan", *generator, "killed", only="nothing")
    bench.actions["train killed goes on"]["texts"]["stderr"] = ""  # from which step on depends on the moment
    _last_checkpoints(bench, "train killed: last checkpoints", "killed")
    describe = ("--describe", "texts.json")
    bundle = ("train", "bundle", "--config", "tiny.yaml", "--out")
    bench.cli("train bundle", *bundle, "run", "--bundle", "tiny", "--card", "card.md", "--storage", "fp32", *describe)
    bench.cli("train bundle pieces", *bundle, "pieces", "--bundle", "tiny-pieces")
    bench.cli("train detail", "train", "detail", "--bundle", "tiny", "--data", "pairs.npz")
    bench.cli("models verify tiny", "models", "verify", "./tiny")
    bench.cli("models import", "models", "import", "tiny", "-q")
    bench.cli("models import again", "models", "import", "tiny", "-q")
    bench.cli("models import over", "models", "import", "tiny", "-q", "--overwrite")
    bench.cli("models list two", "models", "list")
    bench.cli("models remove tiny", "models", "remove", "tiny")
    made = ("generate", "-m", "./tiny", "--device", "cpu", "--precision", "fp32", "-q", "--steps", 4)
    bench.cli("generate tiny", *made, "-n", 4, "-s", 1, "-f", "nii.gz,json", "-o", "of-tiny")
    for stage, config, pack in (
        ("landmarks", "published.yaml", "pairs.npz"),  # makes the frames, so that the next ones begin with a step
        ("segmentation", "segmentation.yaml", "pairs.npz"),
        ("landmarks", "landmarks.yaml", "pairs.npz"),
        ("encoder", "encoder.yaml", "cines.npz"),
        ("encoder", "published-encoder.yaml", "cines.npz"),
    ):
        name = Path(config).stem
        out = f"run-{name}"
        words = (stage, "--config", config, "--data", pack, "--out", out)
        if "published" in name:
            bench.cli(f"train {name}", "train", *words)
        else:
            _pieces(bench, f"train {name}", *words)
        write = (f"{stage}-bundle", "--config", config, "--out", out, "--bundle", f"model-{name}")
        bench.cli(f"train {name} bundle", "train", *write, "--describe", "more-texts.json")
    cine, cpu = _made(bench, "made", 0, ".nii.gz"), ("--device", "cpu")
    bench.cli("segment tiny", "segment", cine, "tiny.nii.gz", "--weights", "model-segmentation", "--anyway", *cpu)
    attach = ("--attach", "tiny", "--encoder", "model-encoder", "-q")
    bench.cli("audit attach", "audit", "--train", "of-tiny", "--synthetic", "of-tiny", *attach)
    gate = ("--gate", "--false-alarm", 0.5, "--redraws", 2, "-f", "nii.gz,json")
    bench.cli("generate tiny gated", *made, "-n", 1, "-s", 9, *gate, "-o", "tiny-gated")


def _pieces(bench: Bench, name: str, *words: object) -> None:
    """A first piece, of one step at most, by the tree that begins; the rest by the one that is looked at."""
    bench.cli(f"{name}: begun", "train", *words, "--minutes", 1e-6, begin=True)
    bench.cli(f"{name}: ended", "train", *words)


def _last_checkpoints(bench: Bench, name: str, run: str) -> None:
    """Hashes of the last checkpoint of every stage, under names that say nothing of what lies before."""
    texts = {}
    for stage in sorted(path for path in (bench.work / run).glob("*") if path.is_dir()):
        folders = sorted(path for path in stage.iterdir() if path.is_dir() and any(path.glob("*.safetensors")))
        for path in sorted(folders[-1].iterdir()) if folders else ():
            texts[f"{stage.name}/{folders[-1].name}/{path.name}"] = kept_of(path, bench.masker)["sha256"]
    bench.keep(name, texts)


def published(bench: Bench) -> None:
    """Checkpoints in the published layout: those of the tests, from this script's tree, the same for any other."""
    data = Path(__file__).resolve().parents[1] / "data"
    texts = {"scale_factor": 0.8, "num_train_timesteps": 300, "schedule": "cosine"}
    codec = json.loads((data / "vqgan_tiny.json").read_text(encoding="utf-8"))["config"]
    dit = json.loads((data / "dit_tiny.json").read_text(encoding="utf-8"))["config"]
    (bench.work / "stage1.yaml").write_text(json.dumps({"stage1": {"params": codec}}), encoding="utf-8")
    (bench.work / "dit.yaml").write_text(json.dumps({"dit": {"params": dit}, "training": texts}), encoding="utf-8")
    for name in ("vqgan_tiny", "dit_tiny"):
        shutil.copy(data / f"{name}.pth", bench.work / f"{name}.pth")
    bench.ignore_changes()
    pair = ("--stage1", "vqgan_tiny.pth", "--stage1-config", "stage1.yaml", "--dit", "dit_tiny.pth", "--dit-config")
    licence = ("--licence", "CC0", "--licence-conditions", "None.", "--data-source", "nothing")
    bench.cli("import", "import", *pair, "dit.yaml", "--name", "mine", *licence)
    bench.cli("import raw", "import", *pair, "dit.yaml", "-o", "raw", "--raw-weights", "--direct", "--storage", "int8")
    made = ("--steps", 3, "--device", "cpu", "--precision", "fp32", "-q", "-f", "nii.gz,json")
    bench.cli("generate imported", "generate", "-m", "mine", "-o", "of-mine", *made)
    swapped = ("--stage1", "dit_tiny.pth", "--stage1-config", "stage1.yaml", "--dit", "vqgan_tiny.pth")
    bench.cli("import swapped", "import", *swapped, "--dit-config", "dit.yaml", "--name", "swapped")
    bench.cli("models remove", "models", "remove", "mine")


def wrong_orders(bench: Bench) -> None:
    """Bad input: the exit code and the sentence."""
    cine, labels = _made(bench, "made", 0, ".nii.gz"), _made(bench, "made", 0, "_segmentation.nii.gz")
    (bench.work / "text.nii.gz").write_text("no picture", encoding="utf-8")
    data = (bench.work / cine).read_bytes()
    (bench.work / "short.nii.gz").write_bytes(data[: len(data) // 2])
    (bench.work / "bad.yaml").write_text(GENERATOR.replace("batch: 2", "bach: 2", 1), encoding="utf-8")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 1000, (64, 64, 3, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(noise, np.diag([1.5, 1.5, 10, 1])), bench.work / "noise.nii.gz")  # type: ignore[attr-defined]
    bench.ignore_changes()
    orders: tuple[tuple[object, ...], ...] = (
        (),
        ("nothing",),
        ("--version",),
        ("generate", "-n", 0),
        ("generate", "--steps", 0),
        ("generate", "--sampler", "none"),
        ("generate", "-m", "nowhere"),
        ("generate", "-p", "XYZ", *GENERATE),
        ("generate", "-f", "xyz", *GENERATE),
        ("generate", "--edv-ml", "abc", *GENERATE),
        ("generate", "--edv-ml", 9000, "-o", "far", *GENERATE),
        ("generate", "--slices", 12, *GENERATE),
        ("generate", "--device", "nonsense", "--steps", 1),
        ("convert", "nowhere.nii.gz", "x.nii.gz"),
        ("convert", "text.nii.gz", "x.nii.gz"),
        ("convert", "short.nii.gz", "x.nii.gz"),
        ("convert", cine, "x.xyz"),
        ("convert", cine, "heart.nii.gz"),
        ("segment", "nowhere.nii.gz", "x.nii.gz"),
        ("segment", "noise.nii.gz", "x.nii.gz", "--no-mirrored", "--device", "cpu"),
        ("landmarks", labels, "x.txt"),
        ("function", cine, "-o", "x"),
        ("function", labels, "-f", "pdf", "-o", "x"),
        ("measure", "short.nii.gz", "-o", "x"),
        ("complete", cine, "x.nii.gz", "--missing-slices", "99", "--segmentation", labels, *STEPS),
        ("vary", cine, "-o", "x", "--strength", 2),
        ("audit", "--synthetic", "made"),
        ("audit", "--train", "train.npy", "--synthetic", "copies.npy", "--out", "x.pdf"),
        ("audit", "--train", "train.npy", "--synthetic", "copies.npy", "--false-alarm", 5),
        ("evaluate", "synthesis", "--real", "nowhere", "--synthetic", "made"),
        ("evaluate", "landmarks", "--truth", "nowhere.csv", "--predicted", "points.csv"),
        ("models", "info", "nowhere"),
        ("models", "import", "nowhere"),
        ("models", "remove", "nowhere"),
        ("models", "forget", "nowhere"),
        ("models", "download", "nowhere", "-q"),
        ("models", "add", "ftp://example.org/bundle.json"),
        ("prepare", "cines", "nowhere", "x.npz"),
        ("prepare", "acdc", "cohort", "x.npz"),
        ("train", "dit"),
        ("train", "vqgan", "--config", "tiny.yaml", "--out", "x", "--data", "nowhere.npz"),
        ("train", "vqgan", "--config", "bad.yaml", "--out", "x", "--data", "pairs.npz"),
        ("train", "dit", "--config", "tiny.yaml", "--out", "empty", "--data", "pairs.npz"),
        ("train", "bundle", "--config", "tiny.yaml", "--out", "empty", "--bundle", "x"),
        ("train", "segmentation", "--config", "tiny.yaml", "--out", "x", "--data", "pairs.npz"),
        ("import", "--stage1", "x", "--stage1-config", "x", "--dit", "x"),
    )
    for words in orders:
        bench.cli(" ".join(("wrong", *map(str, words))), *words)


def facade(bench: Bench) -> None:
    """The library by its front door."""
    bench.python("facade", "-c", FACADE, _made(bench, "made", 0, ".nii.gz"), "facade")


def worker(bench: Bench) -> None:
    """The worker's lines: jobs, cancelled and wrong ones, and its end."""
    place = bench.work / "worker"
    place.mkdir()
    one = Worker(bench)
    one.until("ready")
    one.ask("1", "ping")
    probe = one.ask("2", "probe")
    one.transcript[-1] = f"result 2 {sorted(probe)}"  # what the machine has
    one.ask("3", "estimate", bundle="acdc-mini", device="cpu", precision="fp32")
    wish = {"seed": 3, "steps": 8, "pathology": "NOR", "device": "cpu", "precision": "fp32"}
    made = one.ask("4", "generate", request=wish, folder=str(place))
    cine = (made.get("cines") or [{}])[0]
    one.ask("5", "generate", request={**wish, "seed": 6}, folder=str(place), gate=True, false_alarm=0.1)
    cpu = {"device": "cpu"}
    labels = one.ask("6", "segment", cine=cine, folder=str(place), **cpu).get("segmentation", {})
    points = one.ask("7", "landmarks", cine=cine, segmentation=labels, folder=str(place), **cpu).get("landmarks", {})
    report = {"path": str(place / "report.html"), "title": "Heart", "heart_rate_bpm": 60.0, "folder": str(place)}
    one.ask("8", "function", segmentation=labels, landmarks=points, cine=cine, **report)
    one.ask("9", "save_cine", cine=cine, path=str(place / "saved.nii.gz"))
    one.ask("10", "save_landmarks", landmarks=points, path=str(place / "points.csv"))
    one.ask("11", "load_cine", path=str(place / "saved.nii.gz"), folder=str(place))
    one.ask("12", "audit_cines", cines=[cine], bundles=["acdc-mini"])
    few = {"steps": 3, "folder": str(place), "segmentation": labels, **cpu}
    one.ask("13", "complete", cine=cine, missing_slices="2", **few)
    one.ask("14", "vary", cine=cine, strength=0.4, **few)
    one.ask("15", "models")
    one.ask("16", "model_card", name="acdc-mini")
    one.ask("17", "verify", name="acdc-mini")
    one.ask("18", "remove", name="nowhere")
    one.ask("19", "import_bundle", path=str(bench.work / "nowhere"))
    one.ask("20", "generate", request={**wish, "pathology": "XYZ"}, folder=str(place))
    one.ask("21", "generate", request=wish, folder=str(place), nonsense=1)
    one.ask("22", "nonsense")
    for line in ("no JSON", "[]", '{"id": "a b", "command": "ping"}', '{"id": "23"}', '{"id": "24", "x": 1}'):
        one.line(line)
        one.until("error")
    one.send("25", "generate", request={**wish, "steps": 900, "sampler": "ddpm"}, folder=str(place))
    while one.until("progress", "error", "result", number="25").get("stage") == "load":
        pass
    # progress goes on while the order to stop is under way: only its two answers count, whichever comes first
    kept = len(one.transcript)
    one.send("26", "cancel", target="25")
    one.until("cancelled", "error", "result", number="25")
    one.transcript[kept:] = sorted(event for event in one.transcript[kept:] if not event.startswith("progress"))
    one.ask("27", "ping")
    one.ask("28", "cancel", target="nowhere")
    one.ask("29", "shutdown")
    code = one.end()
    bench.keep("worker", {"exit": str(code), "events": bench.masker.text("\n".join(one.transcript))})


# ---------------------------------------------------------------------------------------------------------------------
# Comparing


def differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """One block of text for each difference."""
    for name in [*before, *(name for name in now if name not in before)]:
        if name not in now or name not in before:
            yield f"== {name}: {'only before' if name in before else 'only now'}"
            continue
        old, new = before[name], now[name]
        for part in sorted({*old["texts"], *new["texts"]}):
            yield from _text_difference(f"== {name}: {part}", old["texts"].get(part), new["texts"].get(part))
        if old["gone"] != new["gone"]:
            yield from _text_difference(f"== {name}: removed files", "\n".join(old["gone"]), "\n".join(new["gone"]))
        for path in sorted({*old["files"], *new["files"]}):
            first, second = old["files"].get(path), new["files"].get(path)
            title = f"== {name}: file {path}"
            if first is None or second is None:
                yield f"{title}: {'not written now' if second is None else 'not written before'}"
            elif first["sha256"] != second["sha256"]:
                if "text" in first and "text" in second:
                    yield from _text_difference(title, first["text"], second["text"])
                else:
                    yield f"{title}: other bytes ({first['sha256'][:12]}, {second['sha256'][:12]})"


def _text_difference(title: str, before: str | None, now: str | None) -> Iterator[str]:
    if before is None or now is None:
        yield f"{title}: {'not there before' if before is None else 'not there now'}"
    elif before != now:
        lines = list(difflib.unified_diff(before.splitlines(), now.splitlines(), "before", "now", "", "", 1, ""))
        more = [f"... {len(lines) - LINES_SHOWN} more lines"] if len(lines) > LINES_SHOWN else []
        yield "\n".join([title, *(line[:300] for line in lines[:LINES_SHOWN]), *more])


def _about() -> dict[str, str]:
    packages = _packages(
        ("torch", "numpy", "monai", "scipy", "nibabel", "SimpleITK", "pydicom", "matplotlib", "pillow")
    )
    return {"python": platform.python_version(), "processor": _processor(), **packages}


def _packages(names: Iterable[str]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, then write or compare; 1 where something differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    tree = Path(__file__).resolve().parents[2]
    parser.add_argument("--checkout", type=Path, default=tree, help="the tree to look at; that of this script")
    parser.add_argument("--begin-with", type=Path, help="tree that starts what is interrupted; the same")
    parser.add_argument("--scratch", type=Path, help="folder to work in, kept; must not exist")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep what came of it there, as JSON")
    parser.add_argument("--against", type=Path, metavar="FILE", help="print what is other than in there")
    parsed = parser.parse_args(arguments)
    if parsed.write is None and parsed.against is None:
        parser.error("give --write or --against")
    checkout = parsed.checkout.resolve()
    before = json.loads(parsed.against.read_text(encoding="utf-8")) if parsed.against else None
    scratch = parsed.scratch.absolute() if parsed.scratch else Path(tempfile.mkdtemp(prefix="freeze-"))
    try:
        bench = Bench(checkout, scratch, (parsed.begin_with or checkout).resolve())
        run_all(bench)
    finally:
        if parsed.scratch is None:
            shutil.rmtree(scratch, ignore_errors=True)
    now: dict[str, Any] = {"about": _about(), "actions": bench.actions}
    files = sum(len(one["files"]) for one in bench.actions.values())
    spent = sum(bench.cpu_s.values())
    print(f"{len(bench.actions)} actions, {files} files, {spent:.0f} s of one processor", file=sys.stderr)
    if parsed.write is not None:
        parsed.write.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if before is None:
        return 0
    other = {name for name in now["about"] if before["about"].get(name) != now["about"][name]}
    if other:
        print(f"note: another {', '.join(sorted(other))} than before: bits may differ for that reason")
    found = list(differences(before["actions"], now["actions"]))
    for block in found:
        print(block)
    print(f"{len(found)} differences." if found else "No difference.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

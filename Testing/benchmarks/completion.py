"""How well `complete` fills what is missing: against linear interpolation and against the codec's ceiling.

Run: ``python Testing/benchmarks/completion.py --pack acdc.npz --cines FOLDER [--count 4] [--bundle acdc-mini]
[--out completion.json] [--sheet completion.png]``.

Cines are those that the pack keeps aside and the whole recorded ones (``*_sax_4d.nii.gz``) of a folder. Twice,
something of each is taken away: every second slice (1, 3, 5 ...), and the quarter of the frames about end-systole. Then
it is filled in three ways: by `complete`, by linear interpolation between what is left, and by the codec alone from the
whole cine, which is the best that can come out of its latents. Measured on the model's grid, where something was
missing and the ventricle is, at ED and at ES:

- PSNR in dB inside the box around the heart; the range is that of the real cine's 0.5th to 99.5th percentile;
- Dice of the left ventricle's cavity and error of its volume in the filled slices, with the embedded segmentation
  network as judge: its labels of the filled cine against its labels of the real one.

The pose is found once, on the real cine, so that all ways lie alike.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.bundles import load_bundle
from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.completion.complete import complete
from CardioDiTLib.completion.completer import Completer
from CardioDiTLib.completion.missing import check_missing, interpolated
from CardioDiTLib.completion.placement import place
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.data.packing import read_pairs
from CardioDiTLib.io import load_cine
from CardioDiTLib.segmentation.segment import segment

LV = 3
MARGIN = 8
FIGURES = ("psnr", "dice", "volume_error_percent")


def cines_of(pack_path: Path | None, folder: Path | None, count: int) -> Iterator[tuple[str, Cine, int, int]]:
    """Name, cine, frames of ED and ES: `count` of the pack's kept-aside ones, spread over the groups, and as many of
    the folder's, whose phases are in the names of their labels."""
    if pack_path is not None:
        aside = kept_aside(pack_path)
        aside = aside[np.unique(np.linspace(0, len(aside) - 1, count).round().astype(int))]
        for index, pair in zip(aside, read_pairs(pack_path, aside)):
            frames, labels = pair.frames(16)
            images = frames[:, pair.slice_valid].astype(np.float32)
            es = int((labels == LV).sum(axis=(1, 2, 3)).argmin())
            times = np.arange(len(images)) * pair.cycle_s / len(images)
            affine = short_axis_affine(images.shape[1:], pair.spacing)
            yield f"{pair.group}-{index}", Cine(images, affine, times), 0, es
    if folder is not None:
        for path in sorted(folder.glob("*_sax_4d.nii.gz"))[:count]:
            name = path.name.split("_")[0]
            told = re.search(r"_ED(\d+)_ES(\d+)", next(folder.glob(f"{name}_label_*")).name)
            assert told is not None
            yield name, load_cine(path), int(told[1]), int(told[2])


def kept_aside(pack_path: Path) -> NDArray[np.int64]:
    """Numbers of the cines that a pack keeps aside."""
    with np.load(pack_path, allow_pickle=False) as file:
        return np.flatnonzero(file["validation"])


def judged(cine: Cine, frames: list[int], posed: bool = False) -> NDArray[np.uint8]:
    """Labels (len(frames), Z, Y, X) by the embedded network; cines on the model's grid are in its pose already."""
    part = Cine(cine.array[frames], cine.affine, np.arange(len(frames)) * 0.3, {})
    return segment(part, mirrored=False, posed=posed).array


def figures(
    made: NDArray[np.float32],
    real: NDArray[np.float32],
    labels: NDArray[np.uint8],
    true: NDArray[np.uint8],
    span: tuple[float, float],
) -> dict[str, float]:
    """PSNR, Dice and volume error of one phase, arrays (Z, Y, X) of the filled slices."""
    rows, columns = (np.flatnonzero((true > 0).any(axis=axes)) for axes in ((0, 2), (0, 1)))
    box = (
        slice(None),
        slice(max(rows[0] - MARGIN, 0), rows[-1] + MARGIN),
        slice(max(columns[0] - MARGIN, 0), columns[-1] + MARGIN),
    )
    error = float(np.square(np.clip(made[box], *span) - np.clip(real[box], *span)).mean())
    one, other = labels == LV, true == LV
    return {
        "psnr": 10 * float(np.log10((span[1] - span[0]) ** 2 / error)),
        "dice": 2 * float((one & other).sum()) / max(float(one.sum() + other.sum()), 1.0),
        "volume_error_percent": 100 * (float(one.sum()) / max(float(other.sum()), 1.0) - 1),
    }


def measure(
    name: str, cine: Cine, ed: int, es: int, completer: Completer, seed: int, options: dict, sheet: list
) -> list[dict]:
    """All rows of one cine, on the model's grid; the pose is found once, so that all ways lie alike."""
    manifest = completer.bundle.manifest
    pose = np.zeros(cine.shape, np.uint8)
    pose[ed] = judged(cine, [ed, es], posed=True)[0]
    labels = Segmentation(pose, cine.affine, cine.frame_times)
    whole = place(cine, manifest, labels)
    span = (whole.transform.intensity.low, whole.transform.intensity.high)
    real = whole.transform.intensity.unscale(whole.array)
    phase = (cine.frame_times[es] - cine.frame_times[ed]) / whole.transform.cycle_s % 1.0
    frames = {"ED": 0, "ES": round(phase * len(real)) % len(real)}

    def judge(array: NDArray[np.float32]) -> NDArray[np.uint8]:
        on = Cine(array, whole.transform.grid_affine, whole.transform.grid_frame_times)
        return judged(on, list(frames.values()))

    coded = whole.transform.intensity.unscale(completer.decode(completer.encode(whole.array)))
    true = judge(real)
    shown = (true[0] == LV).any(axis=(1, 2)) & np.array(whole.transform.slice_valid)
    quarter = cine.n_frames // 4
    cases = {
        "slices": {"missing_slices": list(range(1, cine.n_slices, 2))},
        "frames": {"missing_frames": [(es - quarter // 2 + i) % cine.n_frames for i in range(quarter)]},
    }
    rows = []
    sheet.append((f"{name} real ES", real[frames["ES"]], np.zeros(len(shown), bool)))
    for case, missing in cases.items():
        begin = time.perf_counter()
        result = complete(cine, bundle=completer, seed=seed, segmentation=labels, **missing, **options)[0]
        seconds = time.perf_counter() - begin
        absent = result.generated
        masks = check_missing(cine, missing.get("missing_slices", ()), missing.get("missing_frames", ()))
        gaps = place(Cine(interpolated(cine, *masks), cine.affine, cine.frame_times, cine.meta), manifest, labels)
        ways = {
            "complete": np.asarray(result.cine.array, np.float32),
            "interpolation": gaps.transform.intensity.unscale(gaps.array),
            "codec": np.where(absent[:, :, None, None], coded, real),
        }
        for way, array in ways.items():
            found_labels = judge(array)
            for number, (phase_name, frame) in enumerate(frames.items()):
                where = np.flatnonzero(shown & absent[frame])
                if not len(where):
                    continue
                found = figures(
                    array[frame, where], real[frame, where], found_labels[number, where], true[number, where], span
                )
                rows.append({"cine": name, "case": case, "way": way, "phase": phase_name, "seconds": seconds, **found})
            sheet.append((f"{name} {case} {way} ES", array[frames["ES"]], absent[frames["ES"]]))
    return rows


def table(rows: list[dict]) -> str:
    """Medians by case, phase and way."""
    lines = [f"{'case':8}{'phase':7}{'way':15}{'n':>4}" + "".join(f"{figure:>24}" for figure in FIGURES)]
    for case, phase in (("slices", "ED"), ("slices", "ES"), ("frames", "ES")):
        for way in ("complete", "interpolation", "codec"):
            chosen = [row for row in rows if (row["case"], row["phase"], row["way"]) == (case, phase, way)]
            if not chosen:
                continue
            text = f"{case:8}{phase:7}{way:15}{len(chosen):4}"
            for figure in FIGURES:
                values = np.array([row[figure] for row in chosen])
                values = np.abs(values) if figure == "volume_error_percent" else values
                text += f"{np.median(values):12.2f} ({values.min():.2f}-{values.max():.2f})".rjust(24)
            lines.append(text)
    return "\n".join(lines)


def draw(sheet: list, path: Path) -> None:
    """One row a cine and way, one column a slice; what was filled has a bright bar on top."""
    from PIL import Image, ImageDraw

    size, widest = 96, max(len(images) for _, images, _ in sheet)
    page = Image.new("L", (widest * size + 150, len(sheet) * size))
    pen = ImageDraw.Draw(page)
    for row, (name, images, absent) in enumerate(sheet):
        pen.text((2, row * size + 2), name.replace(" ", "\n"), fill=255)
        top = np.percentile(images, 99.5)
        for column, plane in enumerate(images):
            crop = plane[plane.shape[0] // 8 : -plane.shape[0] // 8, plane.shape[1] // 8 : -plane.shape[1] // 8]
            grey = np.clip(crop * (255 / max(top, 1)), 0, 255).astype(np.uint8)
            page.paste(Image.fromarray(grey).resize((size, size)), (150 + column * size, row * size))
            if absent[column]:
                pen.rectangle((150 + column * size, row * size, 149 + (column + 1) * size, row * size + 3), fill=255)
    page.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path)
    parser.add_argument("--cines", type=Path, help="folder with *_sax_4d.nii.gz")
    parser.add_argument("--bundle", default="acdc-mini")
    parser.add_argument("--count", type=int, default=4, help="at most so many of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--start", type=float)
    parser.add_argument("--jumps-back", help="strengths with commas, or 'none'")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    options: dict = {} if arguments.steps is None else {"steps": arguments.steps}
    if arguments.start is not None:
        options["start"] = arguments.start
    if arguments.jumps_back is not None:
        words = [] if arguments.jumps_back == "none" else arguments.jumps_back.split(",")
        options["jumps_back"] = tuple(float(word) for word in words)
    completer, rows, sheet = Completer(load_bundle(arguments.bundle)), [], []
    for name, cine, ed, es in cines_of(arguments.pack, arguments.cines, arguments.count):
        rows += measure(name, cine, ed, es, completer, arguments.seed, options, sheet)
        print(f"{name}\n{table([row for row in rows if row['cine'] == name])}", flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        if arguments.sheet:
            draw(sheet, arguments.sheet)
    print(table(rows))


if __name__ == "__main__":
    main()

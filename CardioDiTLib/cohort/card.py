"""The data card of a cohort: what it is, from what, under which terms, and what was measured, in Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from CardioDiTLib.bundles.manifest import BundleManifest
from CardioDiTLib.cohort.manifest import ManifestRow
from CardioDiTLib.cohort.plan import CohortPlan
from CardioDiTLib.cohort.shard import ShardRecord
from CardioDiTLib.cohort.telling import bytes_text, duration
from CardioDiTLib.version import __version__

if TYPE_CHECKING:
    from CardioDiTLib.evaluation.synthesis_report import SynthesisReport
    from CardioDiTLib.privacy.audit_report import AuditReport

_ASKED = {"edv_ml": "LV end-diastolic volume, mL", "ef_percent": "LV ejection fraction, %", "lv_mass_g": "LV mass, g"}
_MEASURED = {**_ASKED, "esv_ml": "LV end-systolic volume, mL", "rv_edv_ml": "RV end-diastolic volume, mL"}
_MEASURED["rv_ef_percent"] = "RV ejection fraction, %"
_BY = {"labels": "their own labels", "network": "the segmentation network"}
_REASONS = 5


@dataclass(frozen=True, eq=False)
class CardFacts:
    """What a card is made from.

    Attributes:
        plan: The plan.
        manifest: Of the bundle.
        rows: All hearts.
        records: Whole shards.
        audit: Of the whole.
        synthesis: Beside real cines.
        sheet: Whether there is a contact sheet.
    """

    plan: CohortPlan
    manifest: BundleManifest
    rows: Sequence[ManifestRow]
    records: Sequence[ShardRecord]
    audit: AuditReport | None
    synthesis: SynthesisReport | None
    sheet: bool

    @property
    def made(self) -> list[dict[str, Any]]:
        """Rows of hearts that are there."""
        return [row.values for row in self.rows if row.values["status"] == "made"]

    def notes(self) -> list[str]:
        """What should be known, in plain sentences."""
        found = []
        absent = Counter(row.values["status"] for row in self.rows)
        for status, what in (("failed", "could not be made"), ("missing", "are not made yet")):
            if absent[status]:
                found.append(f"{absent[status]} of {len(self.rows)} hearts {what}.")
        machines = {str(record.machine) for record in self.records}
        if len(machines) > 1:
            found.append(
                f"Shards were made on {len(machines)} kinds of machine: the same seed gives the same bytes only on the "
                "same kind."
            )
        return found


def data_card(facts: CardFacts) -> str:
    """The card, Markdown."""
    plan, manifest = facts.plan, facts.manifest
    hearts = f"{len(facts.made)} synthetic heart{'' if len(facts.made) == 1 else 's'}"
    parts = [
        f"# {hearts} of {_line(manifest.title)}",
        "**Synthetic.** No heart in this set belongs to a person: each was drawn by a generative model. "
        f"{_line(manifest.intended_use)}",
        _table(("", ""), _about(facts)),
        *(f"- {note}" for note in facts.notes()),
        "## Hearts by class",
        _classes(facts),
        *_distributions(facts),
        *_gate(facts),
        *_audit(facts),
        *_beside_real(facts),
        *_failures(facts),
        "## Files",
        _files(facts),
        "## Reading it",
        _reading(facts),
        "## Making a heart again",
        _again(facts),
        "## Terms",
        f"{_line(manifest.licence.name)}: {_line(manifest.licence.conditions)}",
        f"Training data of the model: {_line(manifest.training_data.data_source)}",
        f"_Written by CardioDiT {__version__}; the plan was made by {plan.cardiodit_version or 'an earlier version'}._",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(facts: CardFacts) -> list[tuple[str, str]]:
    plan, manifest, grid = facts.plan, facts.manifest, facts.manifest.grid
    bytes_ = sum(record.tar.bytes for record in facts.records)
    seconds = sum(record.seconds for record in facts.records)
    timed = sum(record.timed for record in facts.records)
    slices, frames = plan.slices or grid.slices, plan.frames or grid.frames
    cycle = plan.cycle_s or grid.cycle_s
    rows = [
        (
            "what",
            f"short-axis cine cardiac MRI, {frames} frames x {slices} slices x {grid.height} x {grid.width} pixels",
        ),
        ("grid", f"{grid.spacing_mm[0]:g} x {grid.spacing_mm[1]:g} x {grid.spacing_mm[2]:g} mm, a beat of {cycle:g} s"),
        ("labels", "right ventricle 1, myocardium 2, left ventricle 3" if plan.labels else "none"),
        ("model", f"{_line(manifest.name)} {manifest.version}, fingerprint `{plan.model_sha256}`"),
        ("settings", _settings(plan)),
        ("hearts", f"{len(facts.made)} of {plan.count} that were planned, seed {plan.seed}"),
        ("table of hearts", f"`hearts.csv`, SHA-256 `{plan.hearts_sha256}`"),
        ("size", f"{bytes_text(bytes_)} in {len(facts.records)} shard{'s' * (len(facts.records) != 1)}"),
    ]
    if timed:
        rows.append(
            ("cost", f"{duration(seconds / timed)} a heart and worker by the clock, {duration(seconds)} in all")
        )
    for machine in sorted({str(record.machine) for record in facts.records}):
        rows.append(("made on", machine))
    return rows


def _settings(plan: CohortPlan) -> str:
    named = {
        "preset": plan.preset,
        "steps": plan.steps,
        "sampler": plan.sampler,
        "guidance": plan.guidance,
        "precision": plan.precision,
        "backend": plan.backend,
        "batch": plan.batch_size if plan.batch_size > 1 else None,
    }
    return ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)


def _classes(facts: CardFacts) -> str:
    plan = facts.plan
    asked = Counter(row.values["pathology"] or "none" for row in facts.rows)
    made = Counter(row["pathology"] or "none" for row in facts.made)
    titles = dict(zip(facts.manifest.class_names, facts.manifest.class_titles))
    rows = [(name, _line(titles.get(name, "")), str(asked[name]), str(made[name])) for name in sorted(asked)]
    text = _table(("class", "", "planned", "made"), rows)
    if plan.drawn_from is None:
        return f"{text}\n\nWhat each heart is asked to be came from a table."
    known = {one.name: one for one in facts.manifest.quantities}
    drawn = [
        f"- {_line(known[name].meaning)}{f' of {key}' if key else ''}: {spread} {known[name].unit}".rstrip()
        for name, by_class in plan.drawn_from.quantities.items()
        for key, spread in by_class.items()
    ]
    return "\n\n".join([text, "Drawn from:", "\n".join(drawn)]) if drawn else text


def _distributions(facts: CardFacts) -> list[str]:
    parts: list[str] = []
    for kind in facts.plan.measure:
        asked_rows = []
        for name, title in _ASKED.items():
            pairs = [
                (row[f"asked_{name}"], row[f"{kind}_{name}"])
                for row in facts.made
                if row.get(f"asked_{name}") is not None and math.isfinite(row.get(f"{kind}_{name}", math.nan))
            ]
            if pairs:
                asked, found = np.array(pairs, np.float64).T
                error = found - asked
                asked_rows.append(
                    (
                        title,
                        str(len(pairs)),
                        _spread(asked),
                        _spread(found),
                        f"{error.mean():+.1f}",
                        f"{np.abs(error).mean():.1f}",
                    )
                )
        if asked_rows:
            head = ("", "hearts", "asked", "measured", "bias", "mean absolute error")
            parts += [f"## Asked and measured, by {_BY[kind]}", _table(head, asked_rows)]
        by_class = _measured_by_class(facts, kind)
        if by_class:
            parts += [f"## Measured by {_BY[kind]}", by_class]
    return parts


def _measured_by_class(facts: CardFacts, kind: str) -> str:
    classes = sorted({row["pathology"] or "none" for row in facts.made})
    rows = []
    for name, title in _MEASURED.items():
        cells, known = [], 0
        for one in classes:
            values = [row.get(f"{kind}_{name}", math.nan) for row in facts.made if (row["pathology"] or "none") == one]
            finite = np.array([value for value in values if math.isfinite(value)])
            known += len(finite)
            cells.append(_spread(finite) if len(finite) else "–")
        rows.append((title, *cells, str(known)))
    note = "Mean ± standard deviation (least to most). Stacks are taken for complete; walls and rates: `manifest.csv`."
    return f"{_table(('', *classes, 'hearts'), rows)}\n\n{note}"


def _spread(values: Any) -> str:
    if len(values) == 1:
        return f"{values[0]:.0f}"
    sd = f" ± {values.std(ddof=1):.0f}"
    return f"{values.mean():.0f}{sd} ({values.min():.0f} to {values.max():.0f})"


def _gate(facts: CardFacts) -> list[str]:
    if not facts.plan.gate:
        return ["## Gate", "No gate was used when hearts were made."]
    drawn = sum(row["gate_drawn"] for row in facts.made if row.get("gate_drawn"))
    text = (
        "Every heart passed the gate of the model: it lies no nearer to a training patient than novel patients do, but "
        f"for {100 * facts.plan.false_alarm:g} % of these. {drawn} hearts were drawn for {len(facts.made)}; "
        f"{drawn - len(facts.made)} were refused and drawn again."
    )
    if len(facts.made) < len(facts.rows):
        text += " Draws of hearts that are not in this set are not counted."
    return ["## Gate", text]


def _audit(facts: CardFacts) -> list[str]:
    if facts.audit is None:
        return ["## Audit for memorization", "None was made."]
    from CardioDiTLib.privacy.report_text import to_markdown

    return [f"{to_markdown(facts.audit, published=False).rstrip()}\n\nWhole report: `audit.html`."]


def _beside_real(facts: CardFacts) -> list[str]:
    if facts.synthesis is None:
        return []
    from CardioDiTLib.evaluation.tables import to_markdown

    return [f"{to_markdown(facts.synthesis).rstrip()}\n\nWhole report: `synthesis.html`."]


def _failures(facts: CardFacts) -> list[str]:
    reasons = Counter(row.values["problem"] for row in facts.rows if row.values["status"] == "failed")
    if not reasons:
        return []
    rows = [(_line(reason), str(times)) for reason, times in reasons.most_common(_REASONS)]
    return ["## Hearts that could not be made", _table(("reason", "hearts"), rows)]


def _files(facts: CardFacts) -> str:
    storage = facts.plan.storage
    rows = [
        ("`manifest.csv`", "a row a heart: request, seed, place, SHA-256, measured function, gate"),
        ("`shards/shard-NNNNN/hearts.tar`", f"hearts, uncompressed tar: `heart-NNNNNN.{storage}` and so on"),
        ("`shards/shard-NNNNN/shard.json`", "SHA-256 of the tar, failures, machine"),
        ("`plan.json`, `hearts.csv`", "what was asked for"),
    ]
    if facts.sheet:
        rows.append(("`sheet.png`", "some hearts, chosen at random"))
    text = _table(("file", "what"), rows)
    return f"{text}\n\n![Hearts chosen at random](sheet.png)" if facts.sheet else text


def _reading(facts: CardFacts) -> str:
    rows = [
        ("image = heart.cine.array", "(T, Z, Y, X); geometry: heart.cine.affine, times: heart.cine.frame_times"),
        *([("labels = heart.segmentation.array", "(T, Z, Y, X)")] if facts.plan.labels else []),
        ("heart.request, heart.function", "what was asked, what was measured"),
    ]
    body = "\n".join(f"        {code:<36}# {what}" for code, what in rows)
    plain = (
        "Without CardioDiT, any program that reads tar and NIfTI will do:\n\n"
        "```sh\ntar xf shards/shard-00000/hearts.tar -C somewhere\n```"
        if facts.plan.storage == "nii.gz"
        else "Without CardioDiT, any program that reads tar and NRRD will do."
    )
    return (
        "```python\n"
        "from CardioDiTLib.cohort import open_shard\n\n"
        'with open_shard("shards/shard-00000") as shard:\n'
        "    for heart in shard:\n"
        f"{body}\n"
        "```\n\n"
        f"{plain}\n\nChosen hearts as ordinary files: `cardiodit cohort export FOLDER --numbers 0-9`."
    )


def _again(facts: CardFacts) -> str:
    """The command that makes the first heart again."""
    plan = facts.plan
    if not facts.made:
        return ""
    first = facts.made[0]
    words = [
        "cardiodit generate",
        f"--model {plan.model}",
        f"--seed {first['seed']}",
        f"--first-index {first['index']}",
    ]
    asked = [
        f"--{name.replace('_', '-')} {first[f'asked_{name}']:.10g}"
        for name in (*_ASKED, "lv_slices")
        if first.get(f"asked_{name}") is not None
    ]
    aimed = [*([f"--pathology {first['pathology']}"] if first["pathology"] else []), *asked]
    words += [*aimed, f"--preset {plan.preset}"]
    for name in ("steps", "sampler", "guidance", "slices", "frames", "cycle_s", "device", "precision", "backend"):
        value = getattr(plan, name)
        value = None if name == "guidance" and not aimed else value
        words += [] if value is None else [f"--{name.replace('_', '-')} {value}"]
    words += [f"--adjust {plan.adjust}"] if plan.adjust != CohortPlan.adjust else []
    words += [f"--gate --false-alarm {plan.false_alarm:g} --redraws {plan.redraws}"] if plan.gate else []
    text = (
        f"Heart {first['number']}, for example, to the byte on the same kind of machine"
        f"{' (hearts that were denoised together differ in rounding)' if plan.batch_size > 1 else ''}:"
    )
    return f"{text}\n\n```sh\n{' '.join(words)}\n```"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _line(text: str) -> str:
    """A text of a bundle as a part of a line of Markdown."""
    from CardioDiTLib.io.plain_text import markdown_text

    return markdown_text(text)

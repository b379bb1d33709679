"""Several models beside each other, each against the same real cohort."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation.cohort import Cohort
from CardioDiTLib.evaluation.evaluation_grid import Centre
from CardioDiTLib.evaluation.measures import MeasuredCohort, measure_cohort
from CardioDiTLib.evaluation.report_html import COLOURS, outside_words, within_tag
from CardioDiTLib.evaluation.synthesis import evaluate_synthesis
from CardioDiTLib.evaluation.synthesis_report import SetNumber, SynthesisReport
from CardioDiTLib.evaluation.tables import BETTER_WORDS, SET_TITLES, markdown_lines, model_tables, short, text_lines
from CardioDiTLib.function.function_report import printed
from CardioDiTLib.io.plain_text import markdown_text, plain_text
from CardioDiTLib.reporting.chart import beside_band
from CardioDiTLib.reporting.page import NOT_FOR_DIAGNOSIS, cards, facts, page, section, table
from CardioDiTLib.reporting.tables import number_cell, text_cell, write_csv, write_text
from CardioDiTLib.version import __version__

Given = Cohort | MeasuredCohort | Sequence[Cine]
_METHOD = (
    "Every model stands against the same real cohort. Grey band: what random halves of the real cohort are among "
    "themselves, at the size of that model's cohort; dot: the model at that size. Models with different numbers of "
    "cines have different floors."
)


@dataclass(frozen=True, repr=False)
class ModelComparison:
    """What models make, beside what is real and beside each other.

    Attributes:
        reports: Name of a model to its report; all against the same real cohort.
    """

    reports: dict[str, SynthesisReport]

    def __repr__(self) -> str:
        """One line."""
        counts = ", ".join(f"{name}: {outside_words(report.numbers())}" for name, report in self.reports.items())
        return f"ModelComparison(numbers outside of the floor: {counts})"

    def rows(self) -> list[dict[str, Any]]:
        """One row a number and model: what a table of pandas is made of (``pandas.DataFrame(found.rows())``)."""
        made = []
        for model, report in self.reports.items():
            for where, name, number in report.numbers():
                made.append(
                    {
                        "model": model,
                        "set": where,
                        "number": name,
                        "value": number.value,
                        "matched": number.matched,
                        "floor_low": number.floor_low,
                        "floor_high": number.floor_high,
                        "within_floor": number.within_floor,
                        "better": number.better,
                    }
                )
        return made

    def to_text(self) -> str:
        """The comparison for a terminal."""
        return "\n".join([*map(plain_text, self._opening()), *text_lines(model_tables(self.reports))]) + "\n"

    def to_markdown(self) -> str:
        """The comparison as tables in Markdown."""
        lines = ["## Models side by side", "", *map(markdown_text, self._opening())]
        return "\n".join([*lines, *markdown_lines(model_tables(self.reports))]) + "\n"

    def to_json(self) -> str:
        """Every model's report as JSON, NaN as null."""
        made = {name: json.loads(report.to_json()) for name, report in self.reports.items()}
        return json.dumps({"models": made}, indent=1, ensure_ascii=False) + "\n"

    def save_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`rows` as comma-separated values; what is not known is an empty cell.

        Raises:
            CardioDiTError: The file cannot be written.
        """
        rows = self.rows()
        within = {True: "yes", False: "no", None: ""}
        cells = [
            [number_cell(v) if isinstance(v, float) else text_cell(within.get(v, v)) for v in row.values()]
            for row in rows
        ]
        return write_csv(list(rows[0]), cells, path)

    def to_html(self, path: str | os.PathLike[str], *, title: str = "Models side by side") -> Path:
        """Write the comparison as one HTML file.

        Raises:
            CardioDiTError: The file cannot be written.
        """
        return write_text(self.html_page(title=title), path)

    def html_page(self, *, title: str = "Models side by side") -> str:
        """The page of :meth:`to_html` as text."""
        first = next(iter(self.reports.values()))
        about = [("real", f"{first.real_name}: {first.n_real} cines, {first.n_real_labelled} with labels")]
        about += [
            (name, f"{report.n_synthetic} cines, {report.n_synthetic_labelled} with labels")
            for name, report in self.reports.items()
        ]
        parts = [
            section("about", "What was compared", facts(about)),
            cards(
                [
                    (name, outside_words(report.numbers()), "", "outside of the floor")
                    for name, report in self.reports.items()
                ]
            ),
            section("quantities", "Quantities", self._quantities()),
            section("sets", "Sets as a whole", self._sets()),
            section("method", "How to read it", f'<p class="note">{escape(_METHOD)}</p>'),
        ]
        return page(title, parts, kind="Comparison of models", under=NOT_FOR_DIAGNOSIS, version=__version__)

    def _opening(self) -> list[str]:
        first = next(iter(self.reports.values()))
        counts = ", ".join(f"{name} ({report.n_synthetic})" for name, report in self.reports.items())
        return [
            f"{len(self.reports)} models, {counts}, each against the same {first.n_real} real cines.",
            *self._notes(),
        ]

    def _notes(self) -> list[str]:
        """Notes of the reports, each once; what holds for some of the models names them."""
        of: dict[str, list[str]] = {}
        for name, report in self.reports.items():
            for note in report.notes:
                of.setdefault(note, []).append(name)
        return [
            note if len(names) == len(self.reports) else f"{', '.join(names)}: {note}" for note, names in of.items()
        ]

    def _quantities(self) -> str:
        first = next(iter(self.reports.values()))
        rows = []
        for one in first.quantities:
            if one.group:
                continue
            name = f"{one.title}, {one.unit}" if one.unit else one.title
            cells = [
                f"<th scope='row'>{escape(name)}</th>",
                f'<td class="number">{printed(one.real.median, one.digits)}</td>',
            ]
            for report in self.reports.values():
                found = [q for q in report.quantities if (q.field, q.group) == (one.field, "")]
                if not found:
                    cells.append("<td></td><td></td>")
                    continue
                cells.append(f'<td class="number">{printed(found[0].synthetic.median, one.digits)}</td>')
                cells.append(f"<td>{_beside(found[0].distance)}</td>")
            rows.append(f"<tr>{''.join(cells)}</tr>")
        names = [part for name in self.reports for part in (f"{name}: median", "distance beside its floor")]
        numbers = [1, *range(2, 2 + 2 * len(self.reports), 2)]
        return table(("", "real: median", *names), rows, numbers=numbers) if rows else ""

    def _sets(self) -> str:
        first = next(iter(self.reports.values()))
        rows = []
        for where, part in first.sets.items():
            for name, number in part.items():
                title = f"{SET_TITLES.get(name, name)} ({where})"
                cells = [f"<th scope='row'>{escape(title)}</th>"]
                cells.append(f'<td class="reason">{escape(BETTER_WORDS[number.better])}</td>')
                for report in self.reports.values():
                    found = report.sets.get(where, {}).get(name)
                    cells.append(f"<td>{'' if found is None else _beside(found)}</td>")
                rows.append(f"<tr>{''.join(cells)}</tr>")
        return table(("", "", *self.reports), rows)


def compare_models(
    real: Given,
    models: Mapping[str, Given],
    *,
    neighbours: int = 5,
    resamples: int = 500,
    seed: int = 0,
    centre: Centre = "picture",
    stack_covers_heart: bool | None = None,
    progress: Callable[[str, int, int], object] | None = None,
) -> ModelComparison:
    """Compare what several models made with one real cohort, and so with each other.

    Args:
        real: Real cines; `cd.compare_models` also takes a folder.
        models: Names to what each made; `cd.compare_models` also takes folders.
        neighbours, resamples, seed, centre, stack_covers_heart: See `evaluate_synthesis`.
        progress: Called with (what, done, of) while cines are measured.

    Returns:
        A report a model, with one page for all.

    Raises:
        CardioDiTError: Fewer than two models, or as `evaluate_synthesis`.
    """
    if len(models) < 2:
        raise CardioDiTError(f"{len(models)} model cannot be compared with another.", "Give two or more.")
    measured = real
    if not isinstance(real, MeasuredCohort):
        given = real if isinstance(real, Cohort) else Cohort.from_cines(real, name="real")
        tell = None if progress is None else lambda done, of: progress(given.name, done, of)
        measured = measure_cohort(given, centre=centre, stack_covers_heart=stack_covers_heart, progress=tell)
    return ModelComparison(
        {
            str(name): evaluate_synthesis(
                measured,
                made,
                neighbours=neighbours,
                resamples=resamples,
                seed=seed,
                centre=centre,
                stack_covers_heart=stack_covers_heart,
                progress=progress,
            )
            for name, made in models.items()
        }
    )


def _beside(number: SetNumber) -> str:
    band = beside_band(
        number.matched, (number.floor_low, number.floor_median, number.floor_high), COLOURS[number.within_floor]
    )
    value = f'<span class="reason">{short(number.matched)}</span> ' if band else ""
    return f"{band}{value}{within_tag(number)}"

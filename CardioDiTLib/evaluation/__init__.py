"""Quality of synthetic cines beside real ones: physiology, coherence, kernel distance, overlap, diversity, floors."""

from __future__ import annotations

from CardioDiTLib.evaluation.coherence import Coherence, coherence
from CardioDiTLib.evaluation.cohort import Cohort, CohortItem, cohort_from_folder, cohort_from_pack
from CardioDiTLib.evaluation.evaluation_grid import JudgedCine, judging_grid
from CardioDiTLib.evaluation.features import FEATURES
from CardioDiTLib.evaluation.manifold import Diversity, KernelDistance, Overlap, diversity, kernel_distance, overlap
from CardioDiTLib.evaluation.measures import CineMeasures, MeasuredCohort, measure_cine, measure_cohort
from CardioDiTLib.evaluation.physiology import frechet_distance, wasserstein
from CardioDiTLib.evaluation.synthesis import evaluate_synthesis
from CardioDiTLib.evaluation.synthesis_report import SynthesisReport
from CardioDiTLib.evaluation.tables import from_json, save_csv, to_json, to_markdown, to_text

__all__ = [
    "FEATURES",
    "CineMeasures",
    "Coherence",
    "Cohort",
    "CohortItem",
    "Diversity",
    "JudgedCine",
    "KernelDistance",
    "MeasuredCohort",
    "Overlap",
    "SynthesisReport",
    "coherence",
    "cohort_from_folder",
    "cohort_from_pack",
    "diversity",
    "evaluate_synthesis",
    "frechet_distance",
    "from_json",
    "judging_grid",
    "kernel_distance",
    "measure_cine",
    "measure_cohort",
    "overlap",
    "save_csv",
    "to_json",
    "to_markdown",
    "to_text",
    "wasserstein",
]

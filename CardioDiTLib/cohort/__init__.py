"""Cohorts of thousands of hearts: planned, made by any number of workers that may be killed, checked, described."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from CardioDiTLib.lazy import imported

if TYPE_CHECKING:
    from CardioDiTLib.cohort.cluster import ClusterRequest, sbatch_script, submit
    from CardioDiTLib.cohort.exporting import export_hearts
    from CardioDiTLib.cohort.heart import Heart
    from CardioDiTLib.cohort.heart_record import HeartFailure, HeartFunction, HeartRecord
    from CardioDiTLib.cohort.merging import Merged, MergeRequest, merge_cohort
    from CardioDiTLib.cohort.plan import CohortPlan, read_plan
    from CardioDiTLib.cohort.planning import Planned, PlanRequest, plan_cohort
    from CardioDiTLib.cohort.processes import run_processes, seats
    from CardioDiTLib.cohort.reading import CohortHeart, Shard, open_heart, open_shard
    from CardioDiTLib.cohort.running import RunResult, run_cohort, verify_shards
    from CardioDiTLib.cohort.spread import Distributions, Spread
    from CardioDiTLib.cohort.status import CohortStatus, cohort_status

_HOMES = {
    "ClusterRequest": "cluster",
    "CohortHeart": "reading",
    "CohortPlan": "plan",
    "CohortStatus": "status",
    "Distributions": "spread",
    "Heart": "heart",
    "HeartFailure": "heart_record",
    "HeartFunction": "heart_record",
    "HeartRecord": "heart_record",
    "MergeRequest": "merging",
    "Merged": "merging",
    "PlanRequest": "planning",
    "Planned": "planning",
    "RunResult": "running",
    "Shard": "reading",
    "Spread": "spread",
    "cohort_status": "status",
    "export_hearts": "exporting",
    "merge_cohort": "merging",
    "open_heart": "reading",
    "open_shard": "reading",
    "plan_cohort": "planning",
    "read_plan": "plan",
    "run_cohort": "running",
    "run_processes": "processes",
    "sbatch_script": "cluster",
    "seats": "processes",
    "submit": "cluster",
    "verify_shards": "running",
}

__all__ = [
    "ClusterRequest",
    "CohortHeart",
    "CohortPlan",
    "CohortStatus",
    "Distributions",
    "Heart",
    "HeartFailure",
    "HeartFunction",
    "HeartRecord",
    "MergeRequest",
    "Merged",
    "PlanRequest",
    "Planned",
    "RunResult",
    "Shard",
    "Spread",
    "cohort_status",
    "export_hearts",
    "merge_cohort",
    "open_heart",
    "open_shard",
    "plan_cohort",
    "read_plan",
    "run_cohort",
    "run_processes",
    "sbatch_script",
    "seats",
    "submit",
    "verify_shards",
]


def __getattr__(name: str) -> Any:
    return imported(__name__, _HOMES, name)

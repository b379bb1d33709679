"""Cohorts on a cluster: a script for sbatch, or jobs through submitit. No scheduler of our own.

Every job is the same run on the same folder: jobs share the work by their claims, so that neither their number nor the
order in which the cluster begins them matters, and one that is ended is replaced by any other.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from CardioDiTLib.cohort.heart import Whole
from CardioDiTLib.cohort.plan import LOGS
from CardioDiTLib.cohort.processes import run_processes, seats
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import Count, Positive, Record

_USUAL_MINUTES = 12 * 60.0
_SPARE_MINUTES = 5.0
"""Before the end of a job, in which no heart is begun."""
_WARNED_S = 120
_GB_A_CORE = 2


@dataclass(frozen=True, kw_only=True)
class ClusterRequest(Record):
    """An order for jobs.

    Args:
        folder: Of the cohort, as the nodes see it.
        jobs: How many.
        cpus, gpus, memory_gb, minutes: Of each; memory None for 2 GB a core.
        partition, account: Of the cluster.
        retry: Try hearts again that failed.
    """

    record_name: ClassVar[str] = "request for jobs of a cluster"

    folder: str
    jobs: Count = 1
    cpus: Count = 8
    gpus: Whole = 0
    memory_gb: Count | None = None
    minutes: Positive | None = None
    partition: str | None = None
    account: str | None = None
    retry: bool = False

    @property
    def job_minutes(self) -> float:
        """What a job is given."""
        return self.minutes or _USUAL_MINUTES

    @property
    def working_minutes(self) -> float:
        """What of it hearts are begun in."""
        return max(self.job_minutes - _SPARE_MINUTES, self.job_minutes / 2)

    @property
    def memory(self) -> int:
        """GB of a job."""
        return self.memory_gb or _GB_A_CORE * self.cpus


def sbatch_script(request: ClusterRequest) -> str:
    """A script for ``sbatch`` that runs the jobs as an array."""
    logs = Path(request.folder) / LOGS
    gpus = [f"#SBATCH --gpus-per-task={request.gpus}"] if request.gpus else []
    named = {"partition": request.partition, "account": request.account}
    where = [f"#SBATCH --{name}={_plain(value, name)}" for name, value in named.items() if value is not None]
    words = [sys.executable, "-m", "CardioDiTLib", "cohort", "run", request.folder, "--processes", "auto", "--quiet"]
    words += ["--minutes", f"{request.working_minutes:g}", *(["--retry"] if request.retry else [])]
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=cardiodit-cohort",
        f"#SBATCH --array=0-{request.jobs - 1}",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        f"#SBATCH --cpus-per-task={request.cpus}",
        *gpus,
        f"#SBATCH --mem={request.memory}G",
        f"#SBATCH --time={_clock(request.job_minutes)}",
        f'#SBATCH --output="{logs}/%A_%a.log"',
        f"#SBATCH --signal=B:TERM@{_WARNED_S}",
        "#SBATCH --requeue",
        *where,
        "",
        "# Every task is the same: they share the work through the folder. Submit again until the cohort is complete.",
        "set -euo pipefail",
        f"exec {' '.join(map(shlex.quote, words))}",
    ]
    logs.mkdir(parents=True, exist_ok=True)  # without it sbatch writes no log and says nothing
    return "\n".join(lines) + "\n"


def submit(request: ClusterRequest, cluster: Literal["slurm", "local"] = "slurm") -> list[str]:
    """Hand the jobs over.

    Args:
        request: The order.
        cluster: "slurm", or "local" for processes of this machine in its place.

    Returns:
        Job numbers, as the cluster gave them.

    Raises:
        CardioDiTError: submitit is not installed, or the cluster refuses.
    """
    return [f"job {job.job_id}" for job in submit_jobs(request, cluster)]


def submit_jobs(request: ClusterRequest, cluster: str) -> list[Any]:
    """As `submit`; the jobs of submitit themselves."""
    try:
        import submitit
    except ImportError as error:
        raise CardioDiTError(
            "Jobs are handed over by the package submitit, which is not installed.",
            "Install it with 'pip install submitit', or use --print-sbatch.",
        ) from error
    executor = submitit.AutoExecutor(folder=Path(request.folder) / LOGS / "%j", cluster=cluster)
    options: dict[str, Any] = {
        "name": "cardiodit-cohort",
        "timeout_min": int(request.job_minutes) or 1,
        "cpus_per_task": request.cpus,
        "mem_gb": request.memory,
        "tasks_per_node": 1,
        "nodes": 1,
    }
    if request.gpus:
        options["gpus_per_node"] = request.gpus
    if cluster == "slurm":
        options["slurm_array_parallelism"] = request.jobs
        named = {"slurm_partition": request.partition, "slurm_account": request.account}
        options.update({name: value for name, value in named.items() if value is not None})
    try:
        executor.update_parameters(**options)
        with executor.batch():
            return [
                executor.submit(work_in_job, request.folder, request.working_minutes, request.retry)
                for _ in range(request.jobs)
            ]
    except (RuntimeError, FileNotFoundError, submitit.core.utils.FailedJobError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CardioDiTError(f"The cluster takes no jobs: {reason}.", "Try --print-sbatch and sbatch.") from error


def work_in_job(folder: str, minutes: float, retry: bool) -> int:
    """What a job does: a worker a GPU of its own, else one a core; returns the hearts that are made in the end."""
    from CardioDiTLib.cohort.plan import read_plan

    words = ["--minutes", f"{minutes:g}", *(["--retry"] if retry else [])]
    return run_processes(folder, seats(None, read_plan(folder).device), words).made


def _clock(minutes: float) -> str:
    whole = max(1, round(minutes))
    return f"{whole // 60:02d}:{whole % 60:02d}:00"


def _plain(text: str, name: str) -> str:
    if not text or not all(letter.isalnum() or letter in "._-" for letter in text):
        raise CardioDiTError(f"The {name} is '{text}'.", "Give a plain name.")
    return text

"""A status in lines, for people."""

from __future__ import annotations

import math

from CardioDiTLib.cohort.status import CohortStatus

_SHOWN = 20


def status_lines(status: CohortStatus) -> list[str]:
    """What a status says, a line each."""
    lines = [
        f"{status.made} of {status.planned} hearts made, {status.shards_done} of {status.shards} shards whole "
        f"({bytes_text(status.bytes)})"
    ]
    alive = [worker for worker in status.workers if worker.alive]
    if status.complete:
        lines.append("complete: nothing is left to do" if not status.failed else "complete, but for what failed")
    elif alive:
        pace = "" if math.isnan(status.hearts_per_hour) else f", {status.hearts_per_hour:.0f} hearts an hour"
        left = "" if math.isnan(status.seconds_left) else f", about {duration(status.seconds_left)} left"
        lines.append(f"{len(alive)} at work{pace}{left}")
    else:
        alone = (
            ""
            if math.isnan(status.seconds_a_heart)
            else f" (one worker: {duration(status.seconds_a_heart * status.left)})"
        )
        lines.append(f"nobody is at work; {status.left} hearts are left{alone}")
    for worker in status.workers[:_SHOWN]:
        who = f"{worker.host}:{worker.pid}" if worker.host else "somebody"
        state = "" if worker.alive else "; that worker is gone, the shard is free"
        lines.append(
            f"  shard {worker.shard}: {who} since {worker.since}, {worker.hearts} of {worker.of} hearts{state}"
        )
    if len(status.workers) > _SHOWN:
        lines.append(f"  and {len(status.workers) - _SHOWN} more")
    lines += [f"  damaged: {problem} (see what 'run --verify' says)" for problem in status.damaged]
    for failure in status.failed[:_SHOWN]:
        times = f" ({failure.attempts} times)" if failure.attempts > 1 else ""
        lines.append(f"  failed{times}: heart {failure.number}: {failure.reason}")
    if len(status.failed) > _SHOWN:
        lines.append(f"  and {len(status.failed) - _SHOWN} more that failed; --json names all")
    return lines


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, whichever can be read."""
    for unit, size, above in (("days", 86400.0, 2 * 86400.0), ("h", 3600.0, 2 * 3600.0), ("min", 60.0, 120.0)):
        if seconds >= above:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def bytes_text(size: int) -> str:
    """Bytes in the unit that can be read."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6)):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size / 1000:.0f} kB"

"""Loss curves of a run as a picture."""

from __future__ import annotations

import json
from pathlib import Path


def draw_curves(folder: Path) -> Path | None:
    """Draws `log.jsonl` to `curves.png`, one panel a quantity; does nothing where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    log = folder / "log.jsonl"
    if not log.is_file():
        return None
    series: dict[str, list[tuple[int, float]]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a kill may have cut a line
            continue
        for name, value in entry.items():
            if name not in ("step", "seconds") and isinstance(value, (int, float)):
                series.setdefault(name, []).append((entry["step"], value))
    panels: dict[str, list[str]] = {}
    for name in series:
        panels.setdefault(name.removeprefix("val_"), []).append(name)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5 * columns, 3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        for name in names:
            steps, values = zip(*series[name], strict=True)
            axes.plot(steps, values, label="validation" if name.startswith("val_") else "training")
        axes.set_title(title)
        axes.set_xlabel("step")
        if len(names) > 1:
            axes.legend()
    path = folder / "curves.png"
    figure.savefig(path, dpi=80)
    return path

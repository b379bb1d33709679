from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something went wrong, told so that a user can do something about it.

    Attributes:
        message: What, one plain sentence.
        hint: What to do next; may be empty.
        detail: For a bug report; may be empty.
    """

    message: str
    hint: str = ""
    detail: str = ""

    def text(self) -> str:
        """Sentence and hint."""
        return f"{self.message} {self.hint}".strip()


class CardioDiTProblem(RuntimeError):
    """Raised to scripts where the widgets would show a `Problem`.

    Args:
        problem: What went wrong, or its message, which the hint and the detail follow.
        hint, detail: As for `Problem`.

    Attributes:
        problem: What went wrong.
    """

    def __init__(self, problem: Problem | str, hint: str = "", detail: str = "") -> None:
        self.problem = problem if isinstance(problem, Problem) else Problem(problem, hint, detail)
        super().__init__(self.problem.text())


class GenerationCancelled(CardioDiTProblem):
    """A blocking call was cancelled by the user; the scene is as it was."""

    def __init__(self) -> None:
        super().__init__("Cancelled.")

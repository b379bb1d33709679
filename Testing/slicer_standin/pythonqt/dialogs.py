"""Modal dialogs: nobody is there to answer, so each one takes the next prepared answer or is an error at once."""

from __future__ import annotations

from collections import deque

from PySide6.QtWidgets import QDialog, QFileDialog, QInputDialog, QMenu, QMessageBox

answers: deque = deque()
asked: list[str] = []

# What the static functions of QFileDialog return in PythonQt: a path, never the pair (path, filter) of PySide6.
SINGLE_FILE = ("getOpenFileName", "getSaveFileName", "getExistingDirectory")
INPUTS = ("getText", "getItem", "getInt", "getDouble", "getMultiLineText")
QUESTIONS = ("question", "information", "warning", "critical", "about")


def next_answer(question: str):
    """The next prepared answer; RuntimeError if there is none, because the real dialog would wait for ever."""
    asked.append(question)
    if not answers:
        raise RuntimeError(f"a modal dialog would wait for the user: {question}")
    return answers.popleft()


def _title_of(dialog) -> str:
    text = dialog.text if isinstance(dialog, QMessageBox) else ""
    return f"{type(dialog).__name__}: {dialog.windowTitle} {text}".strip()


def _execute(self, *_arguments):
    return next_answer(_title_of(self))


def _execute_menu(self, *_arguments):
    """A menu returns the chosen action: an answer may be the action or its text; None means nothing is chosen."""
    answer = next_answer("QMenu")
    if not isinstance(answer, str):
        return answer
    action = next(action for action in self.actions() if action.text == answer)
    action.trigger()
    return action


def _static(class_name: str, function_name: str, convert=lambda answer: answer):
    def ask(*arguments, **_named):
        texts = [argument for argument in arguments if isinstance(argument, str)]
        return convert(next_answer(f"{class_name}.{function_name}: {' '.join(texts)}".strip()))

    return staticmethod(ask)


def install() -> None:
    """Replace everything that opens a window and waits."""
    for name in ("exec_", "exec"):
        setattr(QDialog, name, _execute)
        setattr(QMessageBox, name, _execute)
        setattr(QMenu, name, _execute_menu)
    for name in SINGLE_FILE:
        setattr(QFileDialog, name, _static("QFileDialog", name, str))
    QFileDialog.getOpenFileNames = _static("QFileDialog", "getOpenFileNames", tuple)
    for name in INPUTS:
        setattr(QInputDialog, name, _static("QInputDialog", name))
    for name in QUESTIONS:
        setattr(QMessageBox, name, _static("QMessageBox", name))

"""What tests may set up or look at; the real application has no such thing, so it is kept apart from `slicer.app`."""

from __future__ import annotations


class State:
    """The one state of the running stand-in."""

    def __init__(self) -> None:
        self.core = None
        self.scripted_modules: dict[str, object] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was set up and recorded; scene and modules stay."""
        self.testing = False
        self.installed_extensions: set[str] = set()
        self.requested_extensions: list[str] = []
        self.restarts = 0
        self.layouts: list[int] = []
        self.tool_bar_browser = None


state = State()

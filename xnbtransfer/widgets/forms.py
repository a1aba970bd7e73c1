"""The header with the steps, and the login form.

No stock widget says which step is the current one, and none keeps a password out of a saved notebook.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

_HERE = Path(__file__).parent


class Stepper(anywidget.AnyWidget):
    """The steps as a list of buttons; brings the styles of the whole page with it."""

    _esm = _HERE / "stepper.js"
    _css = _HERE / "guide.css"

    _steps: traitlets.List[list[str]] = traitlets.List().tag(sync=True)  # name, title, state, glyph
    _current = traitlets.Unicode().tag(sync=True)
    _busy = traitlets.Unicode().tag(sync=True)

    def on_go(self, listener: Callable[[str], None]) -> None:
        """Have ``listener`` called with the name of the step that somebody wants to see."""
        self.on_msg(lambda widget, content, buffers: listener(content["step"]) if content.get("kind") == "go" else None)


class Styles(anywidget.AnyWidget):
    """The styles of a page that has no steps; nothing is seen of it."""

    _esm = "export default { render({ el }) { el.style.display = 'none'; } };"
    _css = _HERE / "guide.css"


class Login(anywidget.AnyWidget):
    """Address, user and password of both sides. The password comes as a message and never is in a trait."""

    _esm = _HERE / "login.js"

    _sides = traitlets.Dict().tag(sync=True)
    _same = traitlets.Bool(True).tag(sync=True)
    _locked = traitlets.Bool(False).tag(sync=True)

    def on_login(self, listener: Callable[[dict[str, dict[str, str]]], None]) -> None:
        """Have ``listener`` called with server, user and password of each side."""

        def heard(widget: Any, content: dict[str, Any], buffers: Any) -> None:
            if content.get("kind") == "login":
                listener(content["sides"])

        self.on_msg(heard)

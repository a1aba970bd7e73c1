"""What stands in a saved notebook where a page was: words beside the widget, which give way to it while it is alive.

JupyterLab keeps only the number of a widget, and writes "model not found" where no kernel knows it any more; it has to
keep that number, or a page would be gone after each reload. So the words are an output of their own before the
widget's, and their style hides whichever of the two has nothing to say. Where a reader strips styles, no widget is
shown either.
"""

from __future__ import annotations

from typing import Any

import ipywidgets

from ..html import Html

_LIVE = ":is(.xnb-guide, .xnb-table)"
_STYLE = (
    f".jp-OutputArea:has({_LIVE}) .xnb-still {{ display: none }} "
    f".jp-OutputArea-child:has(.xnb-still) ~ .jp-OutputArea-child:not(:has({_LIVE})) {{ display: none }}"
)


class Still:
    """A widget on a page together with its words; both can be told anew.

    Parameters
    ----------
    widget : Widget
        Its root has the class ``xnb-guide`` or ``xnb-table``.
    words : Html
        What a reader sees without a kernel.
    """

    def __init__(self, widget: ipywidgets.DOMWidget, words: Html) -> None:
        from IPython.display import display

        self._words = display(self._beside(words), display_id=True)
        view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
        bundle: dict[str, Any] = {"application/vnd.jupyter.widget-view+json": view, "text/plain": ""}
        self._view = display(bundle, raw=True, display_id=True)

    def tell(self, words: Html) -> None:
        """Other words; the widget stays."""
        self._words.update(self._beside(words))

    def end(self, words: Html) -> None:
        """These words from now on, and no widget any more."""
        self._view.update(Html("", ""))
        self._words.update(words)

    @staticmethod
    def _beside(words: Html) -> Html:
        return Html(f'<div class="xnb-still"><style>{_STYLE}</style>{words.markup}</div>', words.text)

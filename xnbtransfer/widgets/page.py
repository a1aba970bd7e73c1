"""What all pages of the guided transfer share: heading, body, blockers, and the button that confirms the step.

No page decides or reads anything by itself. What takes time is done by the model in a thread of its own, because a
callback that blocks would hold up the whole notebook.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw

from .. import html, pictures
from ..html import Html
from .steps import BY_NAME, NAMES, StepState

if TYPE_CHECKING:
    from .app import Guide

WIDE = {"description_width": "initial"}


class Page:
    """One step: heading, body, blockers, and the button that confirms it."""

    name = ""

    def __init__(self, guide: Guide) -> None:
        self.guide, self.model = guide, guide.transfer
        step = BY_NAME[self.name]
        title = f'<h2 tabindex="-1" data-step="{self.name}">{step.title}</h2>'  # the stepper moves the focus there
        self.head = ipw.HTML(f"{title}<p>{html.escape(step.purpose)}</p>")
        self.told = ipw.HTML()
        self.back = ipw.Button(description="Back")
        self.act = ipw.Button(description=step.act, button_style="primary")
        self.back.on_click(lambda _: self.guide.safely(self._go_back))
        self.act.on_click(lambda _: self.guide.work(self.confirm))
        self.footer = ipw.HBox([self.back, self.act], layout=ipw.Layout(justify_content="flex-end", margin="6px 0 0"))
        self._heard: dict[str, Any] = {}
        self.body = ipw.VBox()
        self.box = ipw.VBox([self.head, self.body, self.told, self.footer])
        self.box.add_class("xnb-card")
        self.body.children = self.build()

    def build(self) -> list[ipw.Widget]:
        """The widgets of this page, made once."""
        return []

    def refresh(self) -> None:
        """Show the model as it is now."""

    @property
    def locked(self) -> bool:
        """Whether nothing can be changed now: the run has begun, or something is being done."""
        return self.model.begun or bool(self.model.busy)

    def news(self, name: str, value: Any) -> bool:
        """Whether the model says something else of ``name`` than when this was asked last.

        Only then is a box set to it: what somebody has just put there is not set back by a thread that looks before
        the model has heard of it.
        """
        if name in self._heard and self._heard[name] == value:
            return False
        self._heard[name] = value
        return True

    def set(self, name: str, value: Any) -> None:
        """Set a parameter; the box shows the old one again where that was refused."""
        try:
            self.model.set(**{name: value})
        finally:
            if self.model.option(name) != value:
                self._heard.pop(name, None)

    def confirm(self) -> None:
        """What the button does."""
        self.model.confirm(self.name)

    def refresh_all(self) -> None:
        """Body, blockers and buttons."""
        self.refresh()
        state = self.model.state(self.name)
        blockers = self.model.blockers(self.name)
        problem = self.model.problem(self.name)
        shown = ""
        if problem:
            shown += listed("It did not work:", [problem], "failed")
        if blockers and state != StepState.WORKING:
            shown += listed("Before going on:", blockers)
        if self.told.value != shown:
            self.told.value = shown
        self.act.disabled = bool(blockers) or bool(self.model.busy)
        self.back.disabled = self.name == NAMES[0] or bool(self.model.busy)

    def _go_back(self) -> None:
        self.model.show(NAMES[NAMES.index(self.name) - 1])


def listed(title: str, sentences: list[str], kind: str = "") -> str:
    """Sentences below a title, as the page shows what stands in the way."""
    items = "".join(f"<li>{html.escape(one)}</li>" for one in sentences[:8])
    more = f"<li>and {len(sentences) - 8} more</li>" if len(sentences) > 8 else ""
    return f'<div class="xnb-blockers {kind}" role="status"><b>{html.escape(title)}</b><ul>{items}{more}</ul></div>'


def button(words: str) -> ipw.Button:
    """A button as wide as its words."""
    return ipw.Button(description=words, layout=ipw.Layout(width="auto", align_self="flex-start"))


def labels_of(text: str) -> tuple[str, ...]:
    """Labels that were typed with commas between them."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def image(picture: pictures.Picture | None) -> str:
    """A picture with its text, as HTML."""
    if picture is None:
        return ""
    data = base64.b64encode(picture.png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(f"{picture.title}: {picture.alt}")}">'


def details(told: Html) -> str:
    """What is told about one row, as HTML."""
    return f'<div class="xnb-details">{told.markup}</div>'

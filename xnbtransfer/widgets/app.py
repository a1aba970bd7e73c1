"""The guide: header, the page of the current step, and the story that stays in the saved notebook."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets as ipw
import traitlets

from .. import html
from ..errors import XnbTransferError
from ..html import Html, paragraph
from ..pictures import Picture
from .forms import Stepper
from .models import GuidedTransfer
from .page import Page
from .runner import GOING
from .steps import BY_NAME, GLYPHS, NAMES, STEPS
from .still import Still
from .story import chapter
from .views import ChoosePage, ComparePage, ConnectPage
from .views_move import MovePage
from .views_plan import LabelsPage, PlanPage, ReviewPage
from .views_run import FinishPage, RecordPage, RunPage, VerifyPage

PAGES: dict[str, type[Page]] = {
    page.name: page
    for page in (
        ConnectPage,
        ChoosePage,
        ComparePage,
        LabelsPage,
        ReviewPage,
        PlanPage,
        RunPage,
        VerifyPage,
        FinishPage,
        RecordPage,
        MovePage,
    )
}
TICK_S = 0.25
BEAT_S = 20.0
_log = logging.getLogger("xnbtransfer.widgets")


class Guide(ipw.VBox):
    """The whole guided transfer on one page; the model behind it is :attr:`transfer`.

    Parameters
    ----------
    record_root : str
        Folder that receives the record; without it ``xnbtransfer-records``, on XNAT's JupyterHub below the folder that
        lasts.
    transfer : GuidedTransfer, optional
        A model that is there already; a second page on it shows the same.
    """

    beat = traitlets.Int(0).tag(sync=True)  # moves while a run is going, so that a hub sees that the kernel is at work

    def __init__(self, record_root: str = "", transfer: GuidedTransfer | None = None) -> None:
        self.transfer = transfer or GuidedTransfer(record_root)
        self.header = Stepper()
        self.banner = ipw.HTML(layout=ipw.Layout(display="none"))
        self._pages: dict[str, Page] = {}
        self._lock = threading.RLock()
        self._chapters: dict[str, list[Any]] = {}
        self._still: Still | None = None
        self._stilled: tuple[str, ...] = ()
        self._ticking = False
        self._work: list[threading.Thread] = []
        super().__init__([self.header, self.banner])
        self.add_class("xnb-guide")
        self.header.on_go(lambda name: self.safely(self.transfer.show, name))
        self.transfer.observe(lambda change: self._look_again(), "version")
        if transfer is None:
            self.safely(self.transfer.connect_from_environment)
        self.refresh()

    # -- doing things -------------------------------------------------------------------------------------------

    def safely(self, act: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Do something short; what goes wrong is shown, since a notebook shows nothing of a failed callback."""
        try:
            act(*args, **kwargs)
            self._say("")
        except XnbTransferError as problem:
            self._say(str(problem))
        except Exception as problem:  # noqa: BLE001 - logged and shown
            _log.exception("a callback failed")
            self._say(f"Unexpected {type(problem).__name__}: {problem}")
        self.refresh()

    def work(self, act: Callable[..., Any], *args: Any) -> threading.Thread:
        """Do something that may take time, in a thread, and show what comes of it."""
        thread = threading.Thread(target=self.safely, args=(act, *args), name="xnbtransfer-work", daemon=True)
        self._work = [*(one for one in self._work if one.is_alive()), thread]
        thread.start()
        threading.Thread(target=self._stay_awake, args=(thread,), name="xnbtransfer-beat", daemon=True).start()
        return thread

    def wait(self) -> None:
        """Wait until nothing is being done in a thread of this page."""
        for thread in self._work:
            thread.join()

    def _stay_awake(self, thread: threading.Thread) -> None:
        """Show a hub that the kernel is at work for as long as this thread lasts."""
        while thread.is_alive():
            thread.join(BEAT_S)
            if thread.is_alive():
                self.beat += 1

    def start(self) -> None:
        """Start the run, and follow it."""
        self.transfer.start()
        self.follow()

    def follow(self) -> None:
        """Keep the page up to date while a run is going, four times a second at most."""
        with self._lock:
            if self._ticking:
                return
            self._ticking = True
        threading.Thread(target=self._tick, name="xnbtransfer-page", daemon=True).start()

    def _tick(self) -> None:
        last = time.monotonic()
        try:
            while self.transfer.runner is not None and self.transfer.runner.state in GOING:
                time.sleep(TICK_S)
                page = self._pages.get("run")
                if isinstance(page, RunPage) and self.transfer.step == "run":
                    with self._lock:
                        page.tick()
                if time.monotonic() - last > BEAT_S:
                    last, self.beat = time.monotonic(), self.beat + 1
                    with self._lock:
                        self._tell()
        finally:
            self._ticking = False
            self.refresh()

    def _say(self, sentence: str) -> None:
        shown = html.banner("that was refused", sentence, html.Tone.BAD, "✗").markup if sentence else ""
        if sentence and any(sentence == self.transfer.problem(name) for name in NAMES):
            shown = ""  # the page says it already
        if self.banner.value != shown:
            self.banner.value = shown
        self.banner.layout.display = None if shown else "none"

    # -- showing ------------------------------------------------------------------------------------------------

    @property
    def page(self) -> Page:
        """The page of the current step."""
        name = self.transfer.step
        if name not in self._pages:
            self._pages[name] = PAGES[name](self)
        return self._pages[name]

    def refresh(self) -> None:
        """Show the model as it is now."""
        with self._lock:
            page = self.page
            if self.children[-1] is not page.box:
                self.children = [self.header, self.banner, page.box]
            page.refresh_all()
            states = {step.name: self.transfer.state(step.name) for step in STEPS}
            self.header._steps = [
                [step.name, step.title, str(states[step.name]), GLYPHS.get(states[step.name], "")] for step in STEPS
            ]
            self.header._current = self.transfer.step
            self.header._busy = self.transfer.busy
            self._tell()

    def _look_again(self) -> None:
        """The model changed. A page that cannot be drawn must not stop what the model is doing."""
        try:
            self.refresh()
        except Exception as problem:  # noqa: BLE001 - logged and shown
            _log.exception("a page could not be drawn")
            self._say(f"Unexpected {type(problem).__name__}: {problem}")

    def _ipython_display_(self) -> None:
        self._still = Still(self, self._words())

    def _words(self) -> Html:
        """What a saved notebook says in place of the page."""
        done = [BY_NAME[name].title for name in self.transfer.confirmed]
        if len(done) == len(NAMES):
            return paragraph(
                f"This transfer is finished: record {self.transfer.record.name}. What was done is written below."
            )
        told = f"Confirmed so far: {', '.join(done)}." if done else "No step is confirmed yet."
        return paragraph(
            f"A guided transfer that is not finished. {told} Its page is shown here while the notebook runs; to go on, "
            "run this cell, and a run that had begun is offered there. What was confirmed is written below."
        )

    # -- the story ----------------------------------------------------------------------------------------------

    def story(self) -> None:
        """Write below this cell what was done, step by step; it is kept up to date, and stays in the saved notebook."""
        from IPython.display import display

        with self._lock:
            self._chapters = {}
            for name in NAMES:
                first = display(Html("", ""), display_id=True)
                pictures = [(display(Html("", ""), display_id=True)) for _ in range(2)]
                self._chapters[name] = [None, first, *pictures]
            self._tell()

    def _tell(self) -> None:
        for name, kept in self._chapters.items():
            state = self._mark(name)
            if kept[0] == state:
                continue
            kept[0] = state
            told = chapter(self.transfer, name)
            for handle, part in zip(kept[1:], [*_joined(told), *[Html("", "")] * 3], strict=False):
                handle.update(part)
        if self._still is not None and self._stilled != self.transfer.confirmed:
            self._stilled = self.transfer.confirmed
            if "move" in self.transfer.confirmed:
                self._still.end(self._words())
                self._still = None
            else:
                self._still.tell(self._words())

    def _mark(self, name: str) -> tuple:
        """What a chapter depends on; told again only when this changes."""
        transfer = self.transfer
        done = name in transfer.confirmed
        result = transfer.outcome()
        parts = {
            "run": (str(transfer.run_state), id(transfer.result), self.beat),
            "verify": (id(result),),
            "finish": (id(result), len(transfer.archived)),
            "record": (str(transfer.record),),
            "move": (len(transfer.deleted), id(transfer.deleted[-1]) if transfer.deleted else 0),
            "plan": (transfer.made.fingerprint if transfer.made is not None else "",),
        }
        return (done, *parts.get(name, (id(transfer.differences),)))


def _joined(told: list[Html | Picture]) -> list[Any]:
    """A chapter in three parts: what stands before its picture, the picture, and the rest."""
    before: Html | None = None
    rest: Html | None = None
    picture: Picture | None = None
    for part in told:
        if isinstance(part, Picture):
            picture = part
        elif picture is None:
            before = part if before is None else before + part
        else:
            rest = part if rest is None else rest + part
    return [before or Html("", ""), picture or Html("", ""), rest or Html("", "")]

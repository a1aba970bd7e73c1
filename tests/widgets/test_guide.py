"""The page without a browser: buttons are clicked in Python, and what it writes into the notebook is read."""

from __future__ import annotations

import threading
import time

import nbformat
import pandas as pd
import pytest
from guide_roads import Road
from roads import writes

from xnbtransfer import html
from xnbtransfer.doctor import table_of
from xnbtransfer.widgets import Guide, Records, RecordShelf
from xnbtransfer.widgets.app import PAGES
from xnbtransfer.widgets.closing import output
from xnbtransfer.widgets.steps import NAMES
from xnbtransfer.widgets.story import chapter


def until(condition, what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def idle() -> bool:
    """Whether no page is doing anything in a thread."""
    return not [one for one in threading.enumerate() if one.name == "xnbtransfer-work"]


def click(guide: Guide, step: str) -> None:
    """Press the button that confirms the current step, and wait for the next one."""
    assert not guide.page.act.disabled, guide.page.told.value
    guide.page.act.click()
    until(lambda: guide.transfer.step == step and idle(), step)


def test_the_whole_road_by_its_buttons(demo, tmp_path):
    road = Road(demo, str(tmp_path / "records"))
    guide = Guide(road.root)
    assert "Not connected" in guide.page.told.value and guide.page.act.disabled
    user, password = road.server.accounts["member"]
    side = {"server": road.server.url, "user": user, "password": password}
    guide.page.form._handle_custom_msg({"kind": "login", "sides": {"source": side, "destination": side}}, [])
    until(lambda: len(guide.transfer.connections) == 2 and idle(), "connected")
    click(guide, "choose")
    guide.page.project["source"].value = "DEMO_SOURCE"
    until(lambda: guide.page.table is not None and idle(), "listed")
    guide.page.project["destination"].value = "DEMO_DESTINATION"
    until(lambda: guide.transfer.chosen_projects["destination"] and idle(), "chosen")
    guide.page.table.selected = [("001", "001_MR1"), ("002", "002_MR1")]
    click(guide, "compare")
    guide.page.table.current = ("002", "002_MR1")
    assert "XNAT would refuse" in guide.page.details.value
    guide.page.decision.value = "rename"
    guide.page.decide.click()
    click(guide, "labels")
    guide.page.table.set_state({"_edits": {**guide.page.table._edits, "0": {"to_session": "no good"}}})
    assert "does not take" in guide.page.told.value and guide.page.table._notes
    guide.page.table.set_state({"_edits": {**guide.page.table._edits, "0": {"to_session": "GOOD"}}})
    assert not guide.page.table._notes
    click(guide, "review")
    guide.page.reason.value = "ticket 17"
    click(guide, "plan")
    click(guide, "run")
    guide.page.start.click()
    until(lambda: guide.transfer.result is not None and not guide.page.act.disabled, "run")
    assert guide.page.table.frame["sent"].tolist() == [80, 58]
    click(guide, "verify")
    click(guide, "finish")
    click(guide, "record")
    guide.page.act.click()
    until(lambda: guide.transfer.record is not None and idle(), "sealed")
    assert guide.banner.value == ""
    shelf = RecordShelf(road.root)
    assert shelf.search("ticket").empty and len(shelf.search("demo_source mia sealed")) == 1
    name = shelf.rows["record"][0]
    assert "002_MR1" in shelf.tell(name).text and "ticket 17" in shelf.tell(name).text
    result = shelf.verify(name, user=user, password=password)
    assert result.exit_code == 0
    records = Records(road.root)
    records.table.current = (name,)
    until(lambda: "as it was sealed" in records._told.value, "opened")


def test_what_goes_wrong_in_a_callback_is_shown(road):
    guide = Guide(road.root)
    guide.safely(lambda: 1 / 0)
    assert "ZeroDivisionError" in guide.banner.value
    guide.safely(guide.transfer.confirm)
    assert "Not connected to the source" in guide.banner.value
    guide.safely(lambda: None)
    assert guide.banner.value == ""


def test_the_connect_page_shows_how_the_servers_answer(reading_road):
    """The button shows the table of ``xnbtransfer doctor``, of both sides, and writes nothing."""
    guide = Guide(reading_road.root)
    page = guide.page
    assert page.look.layout.display == "none" and page.looked.value == ""
    guide.safely(guide.transfer.examine)
    assert "Log in first" in guide.banner.value
    for side in ("source", "destination"):
        guide.transfer.connect(side, reading_road.server.url, *reading_road.server.accounts[reading_road.role])
    assert page.look.layout.display is None and page.looked.value == ""
    before = len(writes(reading_road.server))
    page.look.click()
    until(lambda: len(guide.transfer.examined) == 2 and idle(), "looked at")
    guide.refresh()
    version = guide.transfer.connections["source"].version()
    for side in ("source", "destination"):
        checks = guide.transfer.examined[side]
        assert checks and all(check.expected for check in checks)
        assert table_of(checks, version).markup in page.looked.value and side.capitalize() in page.looked.value
    assert "forms asked, 0 answered otherwise" in page.looked.value
    assert [one for one in writes(reading_road.server)[before:] if one["status"] < 400] == []
    guide.transfer.connect("source", reading_road.server.url, *reading_road.server.accounts[reading_road.role])
    assert "source" not in guide.transfer.examined and "Source" not in page.looked.value


def test_pages_are_built_when_they_are_first_looked_at(road):
    guide = Guide(road.root)
    assert list(guide._pages) == ["connect"]
    assert list(PAGES) == list(NAMES)


def test_a_click_is_not_taken_back_by_a_thread_that_looks_at_the_same_moment(reading_road):
    guide = Guide(transfer=reading_road.to("review"))
    box = guide.page.archive
    with box.hold_trait_notifications():  # the box has it, the model does not yet
        box.value = True
        guide.refresh()
        assert box.value is True
    assert guide.transfer.option("archive") and box.value is True
    with guide.transfer.working("review", "reading"):
        assert box.disabled
        box.value = False  # it was clicked before it was closed
    guide.refresh()
    assert box.value is True and not box.disabled and guide.transfer.option("archive")


def test_a_second_page_on_the_same_transfer_shows_the_run_that_goes_on(road):
    road.server.faults([{"fault": "latency", "path": "/data/services/import", "delay_s": 0.3}])
    transfer = road.to("run", workers=1)
    first = Guide(transfer=transfer)
    first.start()
    beat = threading.Event()
    transfer.runner.on_change(beat.set)
    assert beat.wait(60)
    first.close()
    second = Guide(transfer=transfer)
    second.follow()
    assert "running" in second.page.bar.value
    second.page.pause.click()
    until(lambda: "paused" in second.page.bar.value, "paused")
    second.page.resume.click()
    until(lambda: transfer.result is not None, "run")
    assert transfer.result.exit_code == 0


def test_a_step_that_is_withdrawn_is_withdrawn_in_the_story(reading_road):
    transfer = reading_road.to("plan")
    assert "Findings before the start" in str(chapter(transfer, "review")[0])
    transfer.set(existing="stop")
    assert "Not confirmed yet" in str(chapter(transfer, "review")[0])


def test_the_story_of_five_thousand_sessions_is_below_one_megabyte(reading_road):
    """The frames are those of a real reading, repeated; what they look like is what counts here."""
    import dataclasses

    transfer = reading_road.to("plan", sessions=("001_MR1", "002_MR1", "003_CT1", "004_PET1", "005_MR1"))
    many = 5000

    def grown(frame: pd.DataFrame) -> pd.DataFrame:
        if frame.empty:
            return frame
        times = many // len(frame) + 1
        found = pd.concat([frame] * times, ignore_index=True).head(many)
        for name in ("subject", "session", "destination_session"):
            if name in found.columns:
                found[name] = [f"{label}_{row}" if label else "" for row, label in enumerate(found[name])]
        return found

    transfer.listing = dataclasses.replace(transfer.listing, sessions=grown(transfer.listing.sessions))
    transfer.selected = tuple(
        map(type(transfer.selected[0])._make, transfer.listing.sessions[["subject", "session"]].to_numpy().tolist())
    )
    transfer.differences = dataclasses.replace(transfer.differences, sessions=grown(transfer.differences.sessions))
    planned = transfer.made.sessions * (many // len(transfer.made.sessions))
    transfer.made = transfer.made.model_copy(update={"sessions": planned})
    transfer._confirmed.append("plan")
    told = [part for name in NAMES for part in chapter(transfer, name)]
    text = nbformat.writes(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output(one) for one in told])])
    )
    assert len(text) < 1_000_000, len(text)
    assert "4940 of 5000 rows are not shown here" in text


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", 'a" onload="b', "a\nb"])
def test_labels_never_become_markup(text):
    told = html.table([{"subject": text, "session": "1"}], "Sessions")
    assert "<script" not in told.markup and 'onload="b' not in told.markup

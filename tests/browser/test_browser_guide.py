"""The guided transfer in a real JupyterLab: by mouse and keyboard, through reloads and killed kernels."""

from __future__ import annotations

import re

from lab import PICTURES, Lab, beyond, button, press, shot, step_is, violations
from playwright.sync_api import Page, expect
from roads import SOURCE, as_

from xnbtransfer.journal import read_journal
from xnbtransfer.record import open_record

# Half of the scans go at once; then there is time to press a button on a slow machine, and to take pictures.
SLOW = [{"fault": "latency", "path": "/data/services/import", "delay_s": 40 if PICTURES else 10, "after": 4}]

SLOW_READING = [{"fault": "latency", "path": "/data/projects/DEMO_DESTINATION", "delay_s": 1.5}]

LABELS = {"Choose": "Sessions of DEMO_SOURCE", "Compare": "Selected sessions side by side"}
LABELS["Labels"] = "Labels at the destination"


def table(page: Page, step: str = "Choose"):
    """The table of a step, once it is there."""
    grid = page.get_by_role("grid", name=LABELS.get(step, step), exact=True)
    return page.locator(".xnb-table[data-ready]").filter(has=grid)


def cell(page: Page, step: str, session: str, column: int):
    """A cell of the row in which a session stands, by the number of its column."""
    row = table(page, step).locator(".body .row").filter(has=page.locator(".cell", has_text=re.compile(f"^{session}$")))
    return row.locator(".cell").nth(column)


def go(page: Page, words: str, title: str) -> None:
    """Press the button that leads to a step; eyes and keyboard are led there, too."""
    press(page, words)
    step_is(page, title)
    heading = page.locator(".xnb-guide").get_by_role("heading", name=title, exact=True)
    expect(heading).to_be_focused()
    expect(heading).to_be_in_viewport()
    expect(page.locator(".xnb-stepper")).to_be_in_viewport(ratio=0.95)


def flaws(page: Page) -> list[str]:
    """What a page should not have: accessibility by axe-core, and nothing cut off, narrow or wide."""
    return violations(page) + beyond(page)


def choose(page: Page, *sessions: str) -> None:
    """Both projects and some sessions, by mouse."""
    page.get_by_label("Source project").select_option("DEMO_SOURCE")
    expect(table(page)).to_have_attribute("data-ready", "9")
    page.get_by_label("Destination project").select_option("DEMO_DESTINATION")
    for session in sessions:
        cell(page, "Choose", session, 0).locator("input").click()
    expect(page.locator(".count").first).to_contain_text(f"{len(sessions)} of 9 selected")


def to_the_run(page: Page, *sessions: str, archive: bool = False) -> None:
    go(page, "Go on", "Choose")
    choose(page, *sessions)
    for words, title in (
        ("Confirm selection", "Compare"),
        ("Confirm comparison", "Labels"),
        ("Confirm labels", "Review"),
        ("Confirm review", "Plan"),
        ("Approve plan", "Run"),
    ):
        go(page, words, title)
        assert beyond(page) == [], "beside the list of files a page is narrower still"
        if archive and title == "Review":
            page.get_by_label("Archive after the comparison").check()


def test_a_whole_transfer_by_mouse_and_keyboard(lab, page, demo, jupyterlab, chromium):
    user, password = demo.accounts["member"]
    notebook = lab("guided-transfer")
    notebook.run_all()
    page.get_by_label("Address").first.wait_for()
    page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
    expect(page.locator(".xnb-blockers")).to_contain_text("Not connected to the source.")
    expect(button(page, "Go on")).to_be_disabled()
    shot(page, "01-connect")
    found = flaws(page)
    page.get_by_label("Address").first.fill(demo.url)
    page.get_by_label("User or token").first.fill(user)
    page.get_by_label("Password or secret").first.fill(password)
    assert password not in notebook.save(), "while it is typed"
    page.keyboard.press("Enter")
    expect(page.locator(".xnb-guide").get_by_role("cell", name="mia")).to_have_count(2)
    expect(page.locator(".xnb-busy").first).to_have_text("")
    shot(page, "02-connected")
    found += flaws(page)
    go(page, "Go on", "Choose")
    found += flaws(page)
    choose(page, "001_MR1", "002_MR1")
    # by keyboard: down to a row, take it with the space bar, look at its scans with Enter
    grid = table(page).locator(".grid")
    grid.focus()
    page.keyboard.press("Control+Home")
    for key in ("ArrowDown", "Space", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".count").first).to_contain_text("3 of 9 selected")
    expect(page.locator(".xnb-details").first).to_contain_text("Scans of 001/001_MR2")
    assert len(notebook.page.locator(".jp-Cell").all()) == 4, "a key of the table did something to the notebook"
    shot(page, "03-choose")
    found += flaws(page)
    go(page, "Confirm selection", "Compare")
    cell(page, "Compare", "002_MR1", 1).click()
    expect(page.locator(".xnb-details").locator("visible=true")).to_contain_text("XNAT would refuse")
    shot(page, "04-conflict")
    found += flaws(page)
    page.get_by_label("Decision", exact=True).select_option("rename")
    press(page, "Decide")
    expect(cell(page, "Compare", "002_MR1", 4)).to_have_text("rename to 002_MR1_2")
    again = button(page, "Read both projects again")
    demo.faults(SLOW_READING)
    again.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".xnb-busy").first).to_contain_text("Reading both projects")
    demo.faults([])
    expect(page.locator(".xnb-busy").first).to_have_text("")
    expect(again).to_be_focused()
    shot(page, "05-decided")
    go(page, "Confirm comparison", "Labels")
    cell(page, "Labels", "001_MR1", 3).dblclick()
    page.keyboard.type("not good")
    page.keyboard.press("Enter")
    expect(cell(page, "Labels", "001_MR1", 3)).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".xnb-blockers")).to_contain_text("a character that XNAT does not take")
    expect(button(page, "Confirm labels")).to_be_disabled()
    shot(page, "06-label-refused")
    found += flaws(page)
    cell(page, "Labels", "001_MR1", 3).click()
    page.keyboard.press("Enter")
    page.keyboard.press("Control+a")
    page.keyboard.type("VISIT_1")
    page.keyboard.press("Enter")
    expect(cell(page, "Labels", "001_MR1", 3)).to_have_text("VISIT_1")
    shot(page, "07-labels")
    found += flaws(page)
    go(page, "Confirm labels", "Review")
    page.get_by_label("Reason, for the record and the server").fill("a first look")
    page.keyboard.press("Tab")
    expect(button(page, "Confirm review")).to_be_enabled()
    found += flaws(page)
    shot(page, "08-review")
    go(page, "Confirm review", "Plan")
    found += flaws(page)
    shot(page, "09-plan")
    go(page, "Approve plan", "Run")
    demo.faults(SLOW)
    press(page, "▶ Start")
    expect(page.locator(".xnb-log")).to_contain_text(re.compile("sent:.*sent:.*sent:", re.DOTALL))
    shot(page, "10-running")
    press(page, "‖ Pause")
    expect(page.locator(".xnb-bar")).to_have_class(re.compile("paused"))
    found += flaws(page)
    shot(page, "10-then-paused")
    demo.faults([])
    press(page, "▶ Resume")
    go(page, "Go on to the verdict", "Verify")
    expect(page.locator(".xnb-guide").first).to_contain_text("all proved")
    found += flaws(page)
    shot(page, "11-verify")
    go(page, "Confirm verdict", "Archive")
    press(page, "Archive them now")
    expect(page.locator(".xnb-guide").first).to_contain_text("Archived from here: 3")
    found += flaws(page)
    shot(page, "12-archived")
    go(page, "Go on to the record", "Record")
    found += flaws(page)
    press(page, "Seal record")
    step_is(page, "Move")
    found += flaws(page)
    press(page, "Look at what may be deleted")
    refused = "mia may not delete xnat:mrSessionData"
    expect(page.locator(".xnb-blockers").locator("visible=true")).to_contain_text(refused)
    found += flaws(page)
    shot(page, "13-move")
    press(page, "End, and log out")
    expect(page.locator(".jp-Notebook")).to_contain_text("This transfer is finished")
    assert found == []
    (record,) = (jupyterlab.work / "xnbtransfer-records").glob("*_guided_*")
    assert open_record(record).summary["sessions"] == {"archived": 3}
    text = notebook.save()
    assert password not in text and len(text) < 1_000_000
    read_without_kernel(chromium, jupyterlab, text)


def read_without_kernel(chromium, jupyterlab, text: str) -> None:
    """The saved notebook as somebody else sees it: no kernel, no JavaScript, nothing fetched."""
    import nbformat
    from nbconvert import HTMLExporter

    saved = nbformat.reads(text, as_version=4)
    assert not [
        1
        for one in saved.cells
        if one.cell_type == "code"
        for output in one.outputs
        if any("widget" in mime for mime in output.get("data", {}))
    ]
    empty = dict.fromkeys(("mathjax_url", "require_js_url", "jquery_url", "mermaid_js_url"), "")
    path = jupyterlab.folder / "saved.html"
    path.write_text(HTMLExporter(**empty).from_notebook_node(saved)[0], encoding="utf-8")
    context = chromium.new_context(java_script_enabled=False, offline=True, viewport={"width": 1280, "height": 1600})
    page = context.new_page()
    page.goto(path.as_uri())
    for words in ("This transfer is finished", "VISIT_1", "002_MR1_2", "a first look", "all proved", "Archived"):
        expect(page.get_by_text(words).first).to_be_visible()
    body = page.locator("body").inner_text()
    assert "model not found" not in body and "Error displaying" not in body
    assert all(page.locator("img").nth(at).get_attribute("alt") for at in range(page.locator("img").count()))
    assert page.locator("img").count() == 4
    shot(page, "14-saved-without-javascript")
    page.locator("text=Verdicts on").first.scroll_into_view_if_needed()
    shot(page, "15-saved-verdict")
    context.close()


STILL = "A guided transfer that is not finished. Confirmed so far: Connect, Choose, Compare, Labels, Review, Plan."


def read_in_mid_run(chromium, jupyterlab, text: str) -> None:
    """A notebook that was saved in mid-run, as HTML without JavaScript."""
    import nbformat
    from nbconvert import HTMLExporter

    empty = dict.fromkeys(("mathjax_url", "require_js_url", "jquery_url", "mermaid_js_url"), "")
    path = jupyterlab.folder / "mid-run.html"
    path.write_text(HTMLExporter(**empty).from_notebook_node(nbformat.reads(text, as_version=4))[0], encoding="utf-8")
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    expect(page.get_by_text(STILL)).to_be_visible()
    body = page.locator("body").inner_text()
    assert "not found" not in body and "Error displaying" not in body and "5. Review" in body
    context.close()


def test_a_run_outlives_the_page_and_the_kernel(lab, page, demo, jupyterlab, folder, chromium):
    # a scan takes long enough for a slow machine to press a button in between
    demo.faults([{"fault": "latency", "path": "/data/services/import", "delay_s": 8}])
    cells = (
        jupyterlab.login_of(demo),
        f"from xnbtransfer.widgets import Guide\nguide = Guide({str(folder)!r})\nguide",
        "guide.story()\nguide.transfer.set(workers=1)",
    )
    notebook = lab("outlives", *cells)
    notebook.run_all()
    expect(button(page, "Go on")).to_be_enabled()  # connected at once, as on a hub
    to_the_run(page, "001_MR1", "005_MR1")
    press(page, "▶ Start")
    expect(page.locator(".xnb-log")).to_contain_text("sent:")  # the first of seven scans; pausing before it sends none
    press(page, "‖ Pause")
    notebook.save()
    page.reload()
    notebook.wait_idle()
    expect(page.locator(".xnb-bar")).to_have_class(re.compile("paused"))
    shot(page, "20-reloaded-in-mid-run")
    read_in_mid_run(chromium, jupyterlab, notebook.save())
    expect(page.get_by_text(STILL)).to_be_hidden()
    press(page, "■ Cancel")
    expect(page.locator(".xnb-bar")).to_have_class(re.compile("cancelled"))
    shot(page, "21-cancelled")
    press(page, "▶ Go on")
    expect(button(page, "■ Cancel")).to_be_visible()
    notebook.kill_kernel()
    demo.faults([])
    notebook.restart_kernel()
    notebook.save()
    page.reload()
    notebook.wait_idle()
    # JupyterLab finds no widget, which nobody sees: the words stand in its place
    page.wait_for_function("() => document.body.textContent.includes('model not found')")
    expect(page.get_by_text(STILL)).to_be_visible()
    expect(page.get_by_text("model not found").locator("visible=true")).to_have_count(0)
    expect(page.locator(".jp-Notebook").get_by_text("001_MR1").first).to_be_visible()
    shot(page, "23-reopened-without-its-kernel")
    notebook.run_all()
    (unfinished,) = folder.glob("*.unfinished")
    name = unfinished.name.removesuffix(".unfinished")
    press(page, f"Go on with {name}")
    step_is(page, "Run")
    shot(page, "22-picked-up")
    press(page, "▶ Start")
    go(page, "Go on to the verdict", "Verify")
    go(page, "Confirm verdict", "Archive")
    go(page, "Go on to the record", "Record")
    press(page, "Seal record")
    press(page, "End, and log out")
    expect(page.locator(".jp-Notebook")).to_contain_text("This transfer is finished")
    record = open_record(folder / name)
    assert record.summary["exit_code"] == 0 and record.summary["verdicts"]["changed as explained"] == 144
    entries = read_journal(record.journal)
    sent = [(one["session"], one["scan"]) for one in entries if one["kind"] == "sent"]
    assert len(sent) - len(set(sent)) <= 4, "at most one scan a worker is sent twice"


def test_a_copy_becomes_a_move_by_mouse(lab, page, demo, jupyterlab, folder):
    def at_the_source() -> set[str]:
        with as_(demo, "owner") as connection:
            return {row["session"] for row in connection.sessions(SOURCE)}

    begin = f"from xnbtransfer.widgets import Guide\nguide = Guide({str(folder)!r})\nguide"
    notebook = lab("move", jupyterlab.login_of(demo, "owner"), begin, "guide.story()")
    notebook.run_all()
    expect(button(page, "Go on")).to_be_enabled()
    to_the_run(page, "006_CT1", archive=True)
    # somebody who types elsewhere is left where he is, whatever happens to the page
    editor = page.locator(".jp-CodeCell").last.get_by_role("textbox")
    editor.click()
    page.keyboard.type("#")
    assert notebook.ask("guide.transfer.show('plan')") == "None"
    step_is(page, "Plan")
    page.keyboard.type(" a remark")
    expect(editor).to_be_focused()
    expect(editor).to_contain_text("# a remark")
    notebook.ask("guide.transfer.show('run')")
    before = at_the_source()
    press(page, "▶ Start")
    go(page, "Go on to the verdict", "Verify")
    go(page, "Confirm verdict", "Archive")
    go(page, "Go on to the record", "Record")
    go(page, "Seal record", "Move")
    press(page, "Look at what may be deleted")
    typed = page.get_by_label(f"To delete, type: {SOURCE} 1")
    expect(typed).to_be_visible()
    assert flaws(page) == []
    shot(page, "70-move-planned")
    typed.click()
    page.keyboard.type(f"{SOURCE} 2")
    expect(button(page, "Delete them at the source")).to_be_disabled()
    page.keyboard.press("Backspace")
    page.keyboard.type("1")
    assert at_the_source() == before, "nothing is deleted before it is confirmed"
    press(page, "Delete them at the source")
    expect(page.locator(".xnb-guide")).to_contain_text("What became of each")
    assert before - at_the_source() == {"006_CT1"} and at_the_source() < before
    assert flaws(page) == []
    shot(page, "71-move-deleted")
    press(page, "End, and log out")
    expect(page.locator(".jp-Notebook")).to_contain_text("This transfer is finished")
    (copied,), (moved,) = folder.glob("*_guided_*"), folder.glob("*_finish-move_*")
    record = open_record(moved)
    assert record.summary["sessions"] == {"deleted": 1} and record.summary["exit_code"] == 0
    assert copied.name in record.notebook.read_text(encoding="utf-8")
    told = notebook.save()
    assert moved.name in told and demo.accounts["owner"][1] not in told


def test_records_are_found_opened_and_verified(lab, page, demo_xnat, jupyterlab, folder):
    from xnbtransfer.notebook import run_template
    from xnbtransfer.options import TransferOptions

    user, password = demo_xnat.accounts["member"]
    chosen = {"source_project": "DEMO_SOURCE", "destination_project": "DEMO_DESTINATION", "sessions": ("003_CT1",)}
    chosen |= {"record_root": str(folder), "reason": "ticket 17"}
    env = {"XNAT_HOST": demo_xnat.url, "XNAT_USER": user, "XNAT_PASS": password}
    record = run_template("transfer", TransferOptions.from_mapping(chosen), env=env)
    login = jupyterlab.login_of(demo_xnat)
    notebook = lab("records", login, f"from xnbtransfer.widgets import Records\nRecords({str(folder)!r})")
    notebook.run_all()
    expect(table(page, "Records")).to_have_attribute("data-ready", "1")
    table(page, "Records").locator(".body .cell").first.click()
    expect(page.locator(".xnb-guide")).to_contain_text("every file of it is as it was sealed")
    expect(page.locator(".xnb-guide")).to_contain_text("ticket 17")
    assert flaws(page) == []
    shot(page, "30-records")
    press(page, "Verify at the destination")
    expect(page.locator(".xnb-guide")).to_contain_text("nothing to send")
    assert record.name.split("_")[1] == "transfer"
    read_narrow_and_printed(page, record)


def read_narrow_and_printed(page: Page, record) -> None:
    """The page of a record on a narrow screen scrolls its wide tables only, and nothing of them is lost on paper."""
    page.route("**/record.html", lambda route: route.fulfill(path=next(record.rglob("record.html"))))
    page.set_viewport_size({"width": 700, "height": 900})
    page.goto("http://127.0.0.1/record.html")
    expect(page.get_by_text("ticket 17").first).to_be_visible()
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    cut = """() => [...document.querySelectorAll('div')].filter(
        (one) => one.scrollWidth > one.clientWidth && getComputedStyle(one).overflowX !== 'visible').length"""
    assert page.evaluate(wide) == 0
    assert page.evaluate(cut) > 0
    page.emulate_media(media="print")
    assert page.evaluate(cut) == 0


def test_the_page_in_the_dark(page, chromium, tmp_path, demo_xnat, blocked):
    from lab import Jupyter

    server = Jupyter(tmp_path / "dark", dark=True)
    try:
        server.put("dark", server.login_of(demo_xnat), "from xnbtransfer.widgets import Guide\nGuide()")
        notebook = Lab(page, server, "dark")
        notebook.open()
        notebook.run_all()
        expect(button(page, "Go on")).to_be_enabled()
        go(page, "Go on", "Choose")
        choose(page, "001_MR1", "002_MR1", "003_CT1")
        assert flaws(page) == []
        go(page, "Confirm selection", "Compare")
        cell(page, "Compare", "002_MR1", 1).click()
        expect(page.locator(".xnb-details").locator("visible=true")).to_contain_text("XNAT would")
        shot(page, "40-dark")
        assert flaws(page) == []
    finally:
        server.stop()

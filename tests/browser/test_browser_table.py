"""The session table in a real JupyterLab, and the page in the other notebook front ends."""

from __future__ import annotations

import shutil

from lab import ROOT, Jupyter, Lab, button, shot, step_is, violations
from playwright.sync_api import expect

MAKE = """
import pandas as pd
from xnbtransfer.widgets import SessionTable
words = ["same", "only source", "conflict", "differs", "cannot tell"]
def rows(count):
    numbers = range(count)
    return pd.DataFrame({
        "subject": [f"{row:05d}" for row in numbers],
        "session": [f"{row:05d}_MR1" for row in numbers],
        "to_session": [f"{row:05d}_MR1" for row in numbers],
        "modality": [("MR", "CT", "PT")[row % 3] for row in numbers],
        "date": "2024-01-31",
        "scans": [row % 9 for row in numbers],
        "size_bytes": [row * 1000 for row in numbers],
        "status": [words[row % 5] for row in numbers],
    })
"""
SHOW = "table = SessionTable(rows({count}), editable=('to_session',), label='Sessions')\ntable"


def test_twenty_thousand_rows_by_mouse_and_keyboard(lab, page):
    notebook = lab("table", MAKE, SHOW.format(count=20_000))
    page.evaluate("""() => {
        const seen = new MutationObserver(() => {
            const ready = document.querySelector('.xnb-table[data-ready="20000"] .body .row');
            if (ready) { window.shownAfter = performance.now() - window.begun; seen.disconnect(); }
        });
        seen.observe(document.body, {childList: true, subtree: true, attributes: true});
    }""")
    notebook.ask("'warm'")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell-and-select-next')")
    notebook.ask("'made'")
    page.evaluate("() => { window.begun = performance.now(); }")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    page.wait_for_function("() => window.shownAfter")
    shown_ms = page.evaluate("() => window.shownAfter")
    print(f"20,000 rows are shown after {shown_ms:.0f} ms (aim: 2 s)")
    shown = page.locator(".xnb-table")
    assert len(shown.locator(".body .row").all()) < 60, "only what is in sight is drawn"
    shot(page, "50-table")
    assert violations(page, ".xnb-table") == []

    grid, count = shown.locator(".grid"), shown.locator(".count")
    grid.focus()
    page.keyboard.press("Control+End")
    expect(shown.locator(".cell.active")).to_have_text("? cannot tell")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Shift+PageUp")
    expect(count).not_to_contain_text("1 of 20000 selected")
    page.keyboard.press("Control+a")
    expect(count).to_contain_text("20000 of 20000 selected")
    notebook.until("len(table.selected)", "20000")
    notebook.ask("setattr(table, 'selected', [('00003', '00003_MR1')])")
    expect(count).to_contain_text("1 of 20000 selected")

    shown.get_by_label("Filter size").fill("> 19.9 MB")
    expect(count).to_contain_text("99 shown")
    shown.get_by_label("Filter modality").fill("ct")
    expect(count).to_contain_text("33 shown")
    shown.get_by_role("button", name="conflict").click()
    expect(count).not_to_contain_text("33 shown")
    shown.get_by_role("button", name="Clear filters").click()
    expect(count).to_contain_text("20000 shown")
    shown.get_by_role("button", name="size", exact=True).click()
    shown.get_by_role("button", name="size").first.click()
    expect(shown.get_by_role("columnheader", name="size")).to_have_attribute("aria-sort", "descending")
    expect(shown.locator(".body .row .cell").nth(1)).to_have_text("19999")
    assert len(page.locator(".jp-Cell").all()) == 2, "no key did anything to the notebook"

    shown.locator(".body .row").first.locator(".cell").nth(3).click()
    page.keyboard.press("F2")
    page.keyboard.type("007")
    page.keyboard.press("Escape")
    expect(shown.locator(".body .row .cell").nth(3)).to_have_text("19999_MR1")
    page.keyboard.type("007")
    page.keyboard.press("Enter")
    expect(shown.locator(".body .row .cell").nth(3)).to_have_text("007")
    notebook.until("table.edits", "{('19999', '19999_MR1'): {'to_session': '007'}}")

    notebook.ask("table.patch({('19998', '19998_MR1'): {'status': 'archived'}})")
    expect(shown.get_by_role("button", name="archived")).to_contain_text("1")
    notebook.save()
    page.reload()
    notebook.wait_idle()
    expect(page.locator(".xnb-table .count")).to_contain_text("1 of 20000 selected")
    expect(page.locator(".xnb-table").get_by_role("button", name="archived")).to_contain_text("1")
    expect(page.locator(".xnb-table .body .row .cell").nth(3)).to_have_text("007")


def test_roles_for_screen_readers(lab, page):
    notebook = lab("roles", MAKE, SHOW.format(count=10))
    notebook.run_all()
    grid = page.get_by_role("grid", name="Sessions")
    expect(grid).to_have_attribute("aria-rowcount", "11")
    expect(grid).to_have_attribute("aria-colcount", "9")
    expect(grid.get_by_role("columnheader")).to_have_count(9)
    expect(grid.get_by_role("row")).to_have_count(11)
    grid.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    active = grid.get_attribute("aria-activedescendant")
    expect(page.locator(f"#{active}")).to_have_text("00001")
    page.keyboard.press("Space")
    expect(page.locator(".xnb-table .row").nth(2)).to_have_attribute("aria-selected", "true")
    notebook.ask("table.note({('00001', '00001_MR1'): {'to_session': 'This will not do.'}})")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".xnb-table .told")).to_have_text("This will not do.")


def smoke(page) -> None:
    expect(button(page, "Go on")).to_be_enabled()
    button(page, "Go on").click()
    step_is(page, "Choose")
    page.get_by_label("Source project").select_option("DEMO_SOURCE")
    expect(page.locator(".xnb-table").first).to_have_attribute("data-ready", "9")
    page.get_by_label("Select all rows shown").click()
    expect(page.locator(".count").first).to_contain_text("9 of 9 selected")


def test_notebook_7(page, demo_xnat, tmp_path):
    server = Jupyter(tmp_path / "notebook", "notebook")
    try:
        server.put("seven", server.login_of(demo_xnat), "from xnbtransfer.widgets import Guide\nGuide()")
        notebook = Lab(page, server, "seven")
        notebook.open(tree=True)
        notebook.run_all()
        smoke(page)
        shot(page, "60-notebook-7")
        assert violations(page) == []
    finally:
        server.stop()


def test_binder_opens_the_guide_and_it_is_connected(page, tmp_path):
    """By Binder's own start script and settings: the page is one click away from the first step."""
    config = tmp_path / "binder" / "config"
    config.mkdir(parents=True)
    shutil.copy(ROOT / "binder" / "jupyter_lab_config.py", config)
    server = Jupyter(tmp_path / "binder", through=str(ROOT / "binder" / "start"))
    try:
        shutil.copytree(ROOT / "notebooks", server.work / "notebooks")
        page.goto(server.url)
        notebook = Lab(page, server, "guided-transfer")
        notebook.wait_idle()
        assert page.url.endswith("/lab/tree/notebooks/guided-transfer.ipynb")
        notebook.run_all()
        expect(page.locator(".xnb-guide").get_by_role("cell", name="mia")).to_have_count(2)
        smoke(page)
        shot(page, "62-binder")
    finally:
        server.stop()


def test_voila(page, demo_xnat, tmp_path, blocked):
    server = Jupyter(tmp_path / "voila", "voila", "--Voila.log_level=40")
    try:
        server.put("dashboard", server.login_of(demo_xnat), "from xnbtransfer.widgets import Guide\nGuide()")
        page.goto(f"{server.url}/voila/render/dashboard.ipynb")
        smoke(page)
        shot(page, "61-voila")
    finally:
        server.stop()
    # Voilà itself asks for its icon font; nothing of ours asks for anything
    assert {address for address in blocked if "fortawesome" not in address.lower() and "font" not in address} == set()
    blocked.clear()

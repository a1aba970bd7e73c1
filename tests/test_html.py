"""Static twins: shown anywhere, cut where long, and never a way in for a label."""

from __future__ import annotations

from html.parser import HTMLParser

import pandas as pd
import pytest
from results import HOSTILE, a_plan, a_result, empty, inventory, options

from xnbtransfer import html
from xnbtransfer.values import Verdict

ALLOWED = {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p", "b", "br"}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))


def tags(shown: html.Html) -> list[tuple[str, dict]]:
    parser = Tags()
    parser.feed(shown._repr_html_())
    return parser.found


def everything(session: str, because: str = ""):
    made = a_plan(session)
    result = a_result(*Verdict, session=session, because=because)
    there = inventory(session=session, notes=(because,) if because else ())
    yield html.parameters_table(options(reason=because, subjects=(session,)))
    yield there.card("Selected")
    yield html.sessions_table(there, "Sessions")
    yield html.scans_table(there)
    yield html.other_resources_table(there)
    yield html.settings_table(made.source.settings, made.destination.settings)
    yield html.conflicts_table(made)
    yield html.plan_table(made)
    yield html.findings_table(made)
    yield html.review_table(made)
    yield html.review_banner(made)
    yield html.policy_table(made)
    yield html.left_behind_table(made)
    yield html.verdict(made, result)
    yield html.verdict(made, None)
    yield html.banner(because, because, "#fff", "!")


@pytest.mark.parametrize("label", ["001_MR1", HOSTILE, "=1+1", "<img src=x onerror=alert(1)>", "é" * 200])
def test_no_label_gets_out_of_its_cell(label):
    for shown in everything(label, label):
        for tag, attributes in tags(shown):
            assert tag in ALLOWED
            assert set(attributes) <= {"style", "bgcolor", "scope", "width"}
        assert "<script" not in shown._repr_html_()


def test_a_status_is_a_word_with_a_symbol_and_its_colour_twice():
    shown = html.table(pd.DataFrame({"path": ["a"], "verdict": ["different"]}), "Files")
    cell = next(attributes for tag, attributes in tags(shown) if tag == "td")
    assert cell["bgcolor"] in cell["style"]
    assert "✗ different" in shown._repr_html_()
    assert ("caption" in dict(tags(shown))) and ("th", "col") in [(t, a.get("scope")) for t, a in tags(shown)]


def test_long_tables_keep_all_that_needs_a_look_and_name_the_whole():
    rows = pd.DataFrame({"path": [f"f{n:04d}" for n in range(1000)], "verdict": ["equal"] * 999 + ["different"]})
    shown = html.table(rows, "Files", full="files.csv")
    assert "f0999" in shown.text and "f0199" in shown.text and "f0200" not in shown.text
    assert "799 of 1000 rows are not shown" in shown.text
    assert f"files.csv, SHA-256 {html.digest(rows)}" in shown.text


def test_plain_readers_get_text():
    data, metadata = html.pairs({"a": 1}, "Title", {"k": "v"})._repr_mimebundle_()
    assert data["text/plain"] == "Title\na: 1"
    assert metadata == {"k": "v"}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (a_result("equal", "changed as explained"), ["✓ all proved", "Keep the record"]),
        (a_result("equal", state="in prearchive"), ["✓ all proved", "wait in the prearchive"]),
        (a_result("equal", "different"), ["✗ differences", "delete nothing"]),
        (a_result("cannot be proved"), ["? not everything", "Delete nothing"]),
        (a_result("equal", transient=True), ["run it again", "goes on where it stopped"]),
        (a_result(), ["nothing to send"]),
        (None, ["dry run", "dry_run=False"]),
    ],
)
def test_the_banner_says_how_it_went_and_what_to_do_next(result, words):
    shown = html.verdict_banner(a_plan(), result)
    for word in words:
        assert word in shown.text


def test_nothing_is_a_word_too():
    assert html.sessions_table(empty(), "Sessions").text == "Sessions: none"


@pytest.mark.parametrize(("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2e12, "2.0 TB")])
def test_sizes(count, text):
    assert html.size(int(count)) == text


def test_one_is_one_and_two_are_many():
    assert [html.many(count, "session") for count in (0, 1, 2)] == ["0 sessions", "1 session", "2 sessions"]

"""``import xnbtransfer as xt``: what it names, what it loads and when, and how its values show themselves."""

from __future__ import annotations

import ast
import dataclasses
import io
import itertools
import os
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from roads import DESTINATION, SOURCE, as_, options

import xnbtransfer as xt
from xnbtransfer import server as embedded

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOUSE = [  # the names that were asked for
    "connect", "connect_sides", "Connection", "TransferOptions", "read_inventory", "read_sides", "Inventory", "diff",
    "Diff", "LabelMap", "prepare", "plan", "Plan", "review", "run", "Control", "verify", "Result", "Verdict",
    "Finding", "open_record", "Record", "seal", "plan_share", "plan_move", "plan_prearchive", "plan_finish",
    "carry_out", "load_plan", "XnbTransferError", "errors", "widgets", "server",
]  # fmt: skip
OPERATIONS = ["ShareOptions", "MoveOptions", "PrearchiveOptions", "FinishOptions"]
VERBS = ["diff", "plan", "review", "verify"]


def python(code: str, **env: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def example(text: str) -> str:
    """The copy in Python that a text shows."""
    (found,) = re.findall(r"^ *import xnbtransfer as xt\n(?: *[^\s`].*\n)+", text, re.MULTILINE)
    margin = len(found) - len(found.lstrip())
    return "".join(line[margin:] for line in found.splitlines(keepends=True))


def test_what_is_named_is_there_and_nothing_else():
    assert xt.__all__ == sorted(xt.__all__) and set(xt.__all__) == {*HOUSE, *OPERATIONS}
    assert set(xt.__all__) <= set(dir(xt))
    for name in xt.__all__:
        found = getattr(xt, name)
        assert found.__doc__, name
        assert name in ("errors", "server", "widgets") or not isinstance(found, type(sys)), name
    with pytest.raises(AttributeError, match="no attribute 'preparer'"):
        _ = xt.preparer
    with pytest.raises(AttributeError, match="cannot be set"):
        xt.plan = print


def test_type_checkers_are_told_the_same_names():
    tree = ast.parse((ROOT / "xnbtransfer" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    named = {alias.name: node.module for node in block.body for alias in node.names}
    assert set(named) == set(xt.__all__)
    for name, module in named.items():
        if module is not None:
            exec(f"from xnbtransfer.{module} import {name} as one; assert one is xt.{name}", {"xt": xt})


def test_the_import_alone_loads_nothing():
    heavy = python("import sys, xnbtransfer; print(sorted({name.split('.')[0] for name in sys.modules}))")
    assert not {"pandas", "numpy", "pydantic", "requests", "xnat", "click"} & set(ast.literal_eval(heavy))
    ours = python("import sys, xnbtransfer; print([name for name in sys.modules if 'xnbtransfer.' in name])")
    assert ast.literal_eval(ours) == []
    shown = python("import sys, xnbtransfer; xnbtransfer.errors; print('pandas' in sys.modules)")
    assert shown == "False\n"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("before", [True, False])
def test_a_verb_is_the_function_whatever_was_imported_before(verb, before):
    asks = f"import xnbtransfer as xt; first = xt.{verb}; from xnbtransfer import {verb} as second"
    loads = f"import xnbtransfer.{verb}; from xnbtransfer.{verb} import {verb} as third; import xnbtransfer.cli"
    lines = [loads, asks] if before else [asks, loads]
    same = f"import xnbtransfer as xt; print(first is second is third is xt.{verb}, callable(first))"
    code = "; ".join([*lines, same])
    module = f"import sys; print(type(sys.modules['xnbtransfer.{verb}']).__name__)"
    assert python(f"{code}; {module}") == "True True\nmodule\n"


def test_all_verbs_in_any_order():
    for order in itertools.islice(itertools.permutations(VERBS), 0, 24, 7):
        loads = "; ".join(f"import xnbtransfer.{verb}" for verb in order)
        told = ", ".join(f"type(xt.{verb}).__name__" for verb in VERBS)
        assert python(f"{loads}; import xnbtransfer as xt; print({told})") == " ".join(["function"] * 4) + "\n"


def test_the_copy_in_six_lines_is_the_same_everywhere_and_runs(tmp_path):
    shown = example(README)
    code = [line for line in shown.splitlines() if line]
    assert len([line for line in code if not line.startswith("print")]) <= 6 and len(re.findall("import", shown)) == 1
    assert example(xt.__doc__) == shown == example((ROOT / "docs" / "reference.md").read_text(encoding="utf-8"))
    asked = shown.replace("STUDY_A", SOURCE).replace("STUDY_B", DESTINATION)
    asked = asked.replace("study-b.run", str(tmp_path / "run"))
    with embedded.running(demo=True) as server:
        user, password = server.accounts["owner"]
        login = {"XNAT_HOST": server.url, "XNAT_USER": user, "XNAT_PASS": password}
        said = python(asked, **login)
        assert re.fullmatch(r"<Result: .*exit code 7.* \d+ equal, \d+ changed as explained, 0 .*, 0 .*>\n", said), said
        assert (tmp_path / "run" / "journal.jsonl").stat().st_size


def test_help_teaches():
    out = io.StringIO()
    pydoc.Helper(output=out).help(xt)
    told = out.getvalue()
    lines = example(xt.__doc__).splitlines()
    for words in (*lines, "The story: connect -> inventory", "prepare(source: ", "class Plan("):
        assert words.strip() in told, words


def test_the_package_is_a_command():
    asked = [sys.executable, "-m", "xnbtransfer", "--version"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"xnbtransfer, version {xt.__version__}\n")


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """One of each value that a prompt or a notebook may be given, and the password that none may show."""
    folder = tmp_path_factory.mktemp("values")
    with embedded.running(demo=True) as server, as_(server, "owner") as source, as_(server, "owner") as destination:
        chosen = options(sessions=("001_MR2",), record_root=str(folder))
        sides = xt.read_sides(source, destination, chosen)
        made = xt.prepare(source, destination, chosen, sides=sides)
        result = xt.run(made, source, destination, folder=folder / "run")
        environment = {"XNAT_HOST": server.url, "XNAT_USER": source.user, "XNAT_PASS": server.accounts["owner"][1]}
        record = xt.open_record(recorded(chosen, environment))
        found = {
            "Connection": source,
            "Inventory": sides.source,
            "Sides": sides,
            "Diff": xt.diff(*sides),
            "Plan": made,
            "Result": result,
            "Record": record,
            "Finding": made.findings[0],
        }
        yield found, server.accounts["owner"][1]


def recorded(chosen, environment) -> Path:
    from xnbtransfer.notebook import InventoryOptions, run_template

    about = InventoryOptions.from_mapping({"source_project": SOURCE, "record_root": chosen.record_root})
    return run_template("inventory", about, env=environment)


@pytest.mark.parametrize("kind", ["Connection", "Inventory", "Diff", "Plan", "Result", "Record", "Finding"])
def test_a_value_shows_itself_in_one_line_and_as_a_card(values, kind):
    found, password = values
    value = found[kind]
    assert isinstance(value, getattr(xt, kind))
    line, card = repr(value), value._repr_html_()
    assert str(value) == line and re.fullmatch(r"<[A-Z][^\n]{10,300}>", line), line
    assert card == value.card().markup and card.startswith("<") and "<table" in card
    assert password not in line + card
    header = "1.2.826"  # a UID of the demonstration: an identifier, which no line has
    assert header not in line
    if kind == "Inventory":
        assert SOURCE in line and "1 session" in line and "001_MR2" not in line
    if kind == "Finding":
        assert value.rule in line and value.rule in card


def test_a_name_in_a_line_commands_no_terminal(values):
    found, _ = values
    for kind, change in (("Inventory", {"project": "P\x1b[31m\nQ"}), ("Finding", {"sentence": "a\x1b[31m\nb"})):
        value = found[kind]
        one = dataclasses.replace(value, **change) if kind == "Inventory" else value.model_copy(update=change)
        assert not re.search(r"[\x00-\x1f]", repr(one)), repr(one)
        assert "\x1b" not in one._repr_html_()


def test_both_sides_show_themselves_together(values):
    sides = values[0]["Sides"]
    assert repr(sides).count("Inventory of") == 2 and "\n" not in repr(sides) and len(repr(sides)) < 400
    assert sides.source.card("Selected at the source").markup in sides._repr_html_()
    here, there, labels = sides
    assert here is sides.source and there is sides.destination and labels is sides.labels


def test_a_printed_plan_begins_with_what_is_done(values):
    with pandas.option_context("display.width", 80, "display.max_columns", 0, "display.expand_frame_repr", False):
        shown = repr(values[0]["Plan"].to_frame()).splitlines()[0].split()
    assert shown[:3] == ["subject", "session", "action"] and shown[-1] == "because"


def test_a_plan_of_either_kind_is_loaded_by_its_file(values, tmp_path):
    made = values[0]["Plan"]
    assert xt.load_plan(made.save(tmp_path / "plan.json")) == made
    with embedded.running(demo=True) as server, as_(server, "owner") as connection:
        chosen = xt.ShareOptions.from_mapping({"source_project": SOURCE, "destination_project": DESTINATION})
        shared = xt.plan_share(connection, chosen)
        again = xt.load_plan(shared.save(tmp_path / "share.json"))
        assert again == shared and repr(again).startswith("<Plan to share") and "<table" in again._repr_html_()
        result = xt.carry_out(again, connection, connection, folder=tmp_path / "share")
        assert result.exit_code in (xt.errors.ExitCode.PROVED, xt.errors.ExitCode.NEEDS_A_PERSON), repr(result)

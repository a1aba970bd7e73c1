"""The rooms of ARCHITECTURE.md: imports point one way, the embedded server stands alone, what is public is said."""

from __future__ import annotations

import ast
import graphlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import xnbtransfer

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "xnbtransfer"
LAYERS = {
    "words": [
        "printable",
        "errors",
        "markup",
        "keys",
        "values",
        "csv_files",
        "yaml_files",
        "options",
        "outputs",
        "labels",
        "label_rules",
        "findings",
        "method_options",
        "forms",
    ],
    "pure": [
        "holdings",
        "dicomedit",
        "elements",
        "walk",
        "confidentiality",
        "policy",
        "identities",
        "dicom",
        "pixels",
        "foretell",
        "deid",
        "zips",
        "streams",
        "conflicts",
        "decisions",
        "inputs",
        "choice",
        "diff",
        "routing",
        "series_filters",
        "plan_file",
        "uncarried",
        "resources",
        "chosen_fields",
        "addresses",
        "script_findings",
        "reviewer",
        "checks",
        "plan",
        "history",
        "html",
        "pictures",
        "changes",
        "change_tables",
        "stuck",
    ],
    "edges": [
        "once",
        "_origin",
        "_bounds",
        "_http",
        "_address",
        "_login",
        "_rows",
        "_scans",
        "_settings",
        "_items",
        "_store",
        "_waiting",
        "xnat",
        "journal",
        "control",
        "state_folder",
        "claims",
        "lease",
    ],
    "conductors": [
        "archived",
        "one_place",
        "arrival",
        "inventory",
        "beside",
        "review",
        "doctor",
        "lanes",
        "order",
        "ended",
        "old_lists",
        "verify",
        "methods",
        "fresh",
        "proof",
        "parcels",
        "mounted",
        "files_door",
        "receiver_door",
        "carrying",
        "fields",
        "transfer",
        "steps",
        "prearchive",
        "one_server",
        "share",
        "relocate",
        "backup",
        "finish",
        "pages",
        "shareable",
        "record",
    ],
    "front": [
        "progress",
        "preparing",
        "actions",
        "change_commands",
        "notebook",
        "campaign",
        "audit",
        "demo",
        "cli",
        "widgets",
        "__main__",
        "__init__",
    ],
}
RANK = {room: rank for rank, rooms in enumerate(LAYERS.values()) for room in rooms}
CLIENT = sorted(path for path in PACKAGE.glob("*.py"))
DICOMEDIT = sorted(PACKAGE.glob("dicomedit/*.py"))
WIDGETS = sorted(PACKAGE.glob("widgets/*.py"))
VIEWS = {"__init__", "app", "forms", "page", "records", "still", "table"}
VIEWS |= {"views", "views_move", "views_plan", "views_run"}
SERVER = sorted((PACKAGE / "server").rglob("*.py"))


def imports(path: Path) -> list[tuple[str, bool]]:
    """Dotted names that a file imports, made absolute, each with whether it stands at the top of the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["xnbtransfer", *path.relative_to(PACKAGE).parent.parts]
    found = []
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.Import):
            found += [(alias.name, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *([node.module] if node.module else [])]
            found += [(".".join([*base, alias.name]), top) for alias in node.names]
    return found


def rooms_used(path: Path, late: bool = True) -> set[str]:
    """Rooms of the client that a file of the client imports, with or without those inside its functions."""
    words = [name.split(".") for name, top in imports(path) if top or late]
    return {parts[1] for parts in words if parts[0] == "xnbtransfer" and len(parts) > 1 and parts[1] in RANK}


@pytest.mark.parametrize("path", CLIENT, ids=lambda path: path.stem)
def test_imports_point_one_way(path):
    assert path.stem in RANK, f"say in LAYERS and in ARCHITECTURE.md where {path.name} belongs"
    upwards = {room for room in rooms_used(path) if RANK[room] > RANK[path.stem]}
    assert not upwards, f"{path.stem} must not import {upwards}"


def test_only_the_views_know_widgets_and_only_their_package_knows_traitlets():
    for path in [*CLIENT, *WIDGETS]:
        used = {name.split(".")[0] for name, _ in imports(path)}
        assert not used & {"traitlets", "ipywidgets", "anywidget"} or path in WIDGETS, path.name
        assert not used & {"ipywidgets", "anywidget", "IPython"} or path.stem in VIEWS, path.name
        assert path in WIDGETS or "widgets" not in rooms_used(path, late=False), path.name


def test_no_room_imports_itself_through_others():
    graph = {path.stem: rooms_used(path, late=False) - {path.stem} for path in CLIENT}
    list(graphlib.TopologicalSorter(graph).static_order())


def test_the_evaluator_of_scripts_knows_no_other_room_and_no_file_but_its_table():
    for path in DICOMEDIT:
        names = {name for name, _ in imports(path)}
        assert not {name for name in names if re.match(r"xnbtransfer\.(?!dicomedit\b)", name)}, path.name
        assert not {name.split(".")[0] for name in names} & {"os", "socket", "subprocess", "requests", "pydicom"}
        assert "pathlib.Path" not in names or path.stem == "dictionary"


def test_the_server_shares_no_code_with_the_client():
    for path in SERVER:
        strangers = {name for name, _ in imports(path) if re.match(r"xnbtransfer(\.(?!server\b)|$)", name)}
        assert not strangers, f"{path.name} imports {strangers}"


def test_the_client_reaches_the_server_late_and_in_one_place():
    for path in CLIENT:
        if path.stem == "__init__":  # hands it out and uses nothing of it: test_front_door.py
            continue
        assert not [name for name, _ in imports(path) if name.startswith("xnbtransfer.server")], path.name
        assert ("xnbtransfer.server" in path.read_text(encoding="utf-8")) == (path.stem == "demo"), path.name


def test_only_the_edge_speaks_http():
    speakers = {path.stem for path in CLIENT for name, _ in imports(path) if name.split(".")[0] in ("requests", "xnat")}
    assert speakers <= {"_origin", "_bounds", "_http", "_address", "_login", "_rows", "_settings", "xnat"}


SIDES = {"_http", "connection", "destination", "source", "there", "association", "entity"}
STORES = {"send_c_store", "associate"}  # what a receiver is sent
AGAIN = {"range", "count", "repeat", "cycle"}


def writes_of_the_edges() -> set[str]:
    """The methods of a connection that change a server, those that call another such one among them."""
    found = {"write"}
    for _ in range(3):
        for path in CLIENT:
            if path.stem in LAYERS["edges"]:
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    if isinstance(node, ast.FunctionDef) and touches(node, found, {"_http", "self"}):
                        found.add(node.name)
    return found


def touches(node: ast.AST, names: set[str], owners: set[str]) -> bool:
    """Whether a piece of code names a method of one of these owners, called or handed on."""
    return any(
        isinstance(one, ast.Attribute)
        and one.attr in names
        and (getattr(one.value, "attr", "") in owners or getattr(one.value, "id", "") in owners)
        for one in ast.walk(node)
    )


def repeats(loop: ast.For | ast.While, touched) -> bool:
    """Whether a loop does the same again: it counts, waits for a state, or goes on after a failure of what it did."""
    if isinstance(loop, ast.While):
        return touched(loop)
    counts = isinstance(loop.iter, ast.Call) and ast.unparse(loop.iter.func).rpartition(".")[2] in AGAIN
    tried = [one for one in ast.walk(loop) if isinstance(one, ast.Try) and any(map(touched, one.body))]
    goes_on = any(not any(isinstance(one, ast.Raise) for one in ast.walk(how)) for t in tried for how in t.handlers)
    return touched(loop) and (counts or goes_on)


def loops_that_write(path: Path, writes: set[str]) -> list[str]:
    """The functions of a room that send a write in a loop that repeats it, by way of others of the room, too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]
    own: set[str] = set()

    def touched(node: ast.AST) -> bool:
        return touches(node, writes | STORES, SIDES) or touches(node, own, {"self"})

    for _ in range(5):  # what goes through the room of repetition is no write of its own
        own |= {one.name for one in functions if touched(one) and "send_and_look" not in ast.unparse(one)}
    loops = [(one.name, loop) for one in functions for loop in ast.walk(one) if isinstance(loop, ast.For | ast.While)]
    return sorted({name for name, loop in loops if repeats(loop, touched)})


def test_a_write_is_repeated_in_one_room():
    """Whatever is sent again is sent by ``once.py``, which reads the state in between; C-STORE, too."""
    writes = writes_of_the_edges()
    assert {"archive", "import_zip", "put_zip", "put_file", "make_scan", "share", "delete", "build"} <= writes
    assert not writes & {"read", "stream", "files", "sessions", "session_item"}
    rooms = [path for path in CLIENT if path.stem not in {"once", "_http", "_login"}]
    assert {path.stem: found for path in rooms if (found := loops_that_write(path, writes))} == {}


def test_a_loop_around_a_write_is_seen(tmp_path):
    for number, loop in enumerate(("while True:", "for attempt in range(4):", "for attempt in itertools.count():")):
        room = tmp_path / f"room{number}.py"
        door = "class Door:\n def once(self):\n  self.destination.archive(1)"
        room.write_text(f"{door}\n def go(self):\n  {loop}\n   self.once()")
        assert loops_that_write(room, {"archive"}) == ["go"]
    room.write_text("def go(connection):\n for one in two:\n  connection.archive(one)")
    assert loops_that_write(room, {"archive"}) == []


def test_importing_the_package_does_nothing_else():
    code = "import sys, xnbtransfer; print(sorted({'pandas', 'xnat', 'requests', 'papermill'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "path", [*CLIENT, *WIDGETS, *DICOMEDIT, *SERVER], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_everything_public_is_said(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    if path.stem == "errors" or path.stem.startswith("_") or path in SERVER:
        return  # errors are told in one table at the top, and the routes of the server by XNAT's own documentation
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent


def test_every_room_is_in_the_picture():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for path in CLIENT:
        assert path.stem.startswith("__") or f"`{path.name}`" in text, f"{path.name} is missing in ARCHITECTURE.md"


def test_scripts_of_others_are_checked_against_our_types():
    """The marker is packed, and each function that the package gives says what it takes and gives."""
    assert (PACKAGE / "py.typed").exists()
    for name in xnbtransfer.__all__:
        one = getattr(xnbtransfer, name)
        if inspect.isfunction(one):
            told = inspect.signature(one)
            assert told.return_annotation is not told.empty, name
            assert all(about.annotation is not about.empty for about in told.parameters.values()), name

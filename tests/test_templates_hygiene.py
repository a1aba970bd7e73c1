"""Templates are stored clean, and offer exactly the parameters that the package knows."""

from __future__ import annotations

import json
import re
import tokenize
from io import StringIO
from pathlib import Path

import nbformat
import pytest

from xnbtransfer.notebook import OPTIONS, find_template, parameters_of
from xnbtransfer.options import TransferOptions

LINE = re.compile(r'(\w+): (str|bool|int|list) = ("[^"=]*"|True|False|\d+|\[\])  # ([^=]+)')


def names() -> list[str]:
    return sorted(OPTIONS)


def read(name: str):
    return nbformat.read(find_template(name), as_version=nbformat.NO_CONVERT)


def parameters(notebook):
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]


def test_every_template_is_known():
    assert sorted(path.stem for path in find_template("transfer").parent.glob("*.ipynb")) == names()


@pytest.mark.parametrize("name", names())
def test_it_is_stored_clean(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) <= 15  # a picture is an output of its own, and so a cell
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    for cell in code:
        assert not cell.outputs and cell.execution_count is None
        assert "def " not in cell.source and "lambda" not in cell.source
        assert not re.search(r"[\"'](/|~|[A-Za-z]:\\)", cell.source), "an absolute path"
        compile(cell.source, name, "exec")


@pytest.mark.parametrize("name", names())
def test_its_parameters_are_those_of_the_package(name):
    (cell,) = parameters(read(name))
    found = {}
    for line in cell.source.splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        found[match[1]] = match
    fields = OPTIONS[name].model_fields
    if name == "transfer":
        assert list(found) == list(TransferOptions.model_fields)
    else:
        assert tuple(found) == OPTIONS[name].offered
    for parameter, match in found.items():
        assert match[4] == fields[parameter].description.replace("=", " ")
    assert set(parameters_of(find_template(name))) == set(found)


@pytest.mark.parametrize("name", names())
def test_the_defaults_can_be_used_as_they_are(name):
    (cell,) = parameters(read(name))
    space: dict = {}
    exec(compile(cell.source, name, "exec"), space)
    space.pop("__annotations__", None)
    options = OPTIONS[name].from_notebook(space)
    if name == "transfer":
        assert options.dry_run, "as it stands, nothing is written"


@pytest.mark.parametrize("name", names())
def test_the_cell_below_the_parameters_checks_them(name):
    notebook = read(name)
    (cell,) = parameters(notebook)
    after = notebook.cells[notebook.cells.index(cell) + 1]
    assert ".from_notebook(globals())" in after.source
    before = notebook.cells[: notebook.cells.index(cell)]
    assert not [one for one in before if one.cell_type == "code"]


@pytest.mark.parametrize("path", sorted(find_template("transfer").parent.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_comment_hides_code(path: Path):
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", []):
            kinds = {token.type for token in tokenize.generate_tokens(StringIO("".join(cell["source"])).readline)}
            assert tokenize.COMMENT not in kinds

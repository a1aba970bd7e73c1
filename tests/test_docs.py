"""The documentation is held to the code: commands, parameters, columns, links."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from reference_tables import REFERENCE, written

from xnbtransfer.cli import cli
from xnbtransfer.options import TransferOptions

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_quick_start_is_two_blocks():
    after = README.split("## Quick start")[1]
    first, second = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert after.count("```sh") == 2
    assert "xnbtransfer demo --output demo-record" in first
    assert "pytest" in second
    for block in (first, second):
        assert block.startswith("python3 -m venv .venv")
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_ci_runs_the_tests_as_the_readme_says():
    tests = re.findall(r"python (-m pytest.*)", README)[0]
    assert f'python" {tests}' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_generated_tables_are_fresh():
    text = REFERENCE.read_text(encoding="utf-8")
    assert written(text) == text, "run: python tests/reference_tables.py"


@pytest.mark.parametrize("name", TransferOptions.model_fields)
def test_every_parameter_is_in_the_reference(name):
    assert f"| `{name}` |" in REFERENCE.read_text(encoding="utf-8")


def test_every_command_is_in_the_readme_and_every_command_there_exists():
    assert set(re.findall(r"^\| `xnbtransfer ([\w-]+)", README, re.MULTILINE)) == set(cli.commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    for line in [*blocks.splitlines(), *re.findall(r"`(xnbtransfer [^`]+)`", text)]:
        found = re.search(r"(?:^|/|\s)xnbtransfer ([a-z][a-z-]*)(.*)", line)
        if not found:
            continue
        assert found[1] in cli.commands, line
        known = {flag for option in cli.commands[found[1]].params for flag in (*option.opts, *option.secondary_opts)}
        assert set(re.findall(r"(?<=\s)--[a-z][a-z-]+", found[2])) <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_tree_that_are_named_exist(page):
    for name in re.findall(r"`((?:tests|docs|templates|binder|xnbtransfer|\.ci)/[\w./-]+)`", page.read_text("utf-8")):
        assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_messages_in_troubleshooting_are_ours():
    said = []
    for path in (ROOT / "xnbtransfer").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                said.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.append(node.value)
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    parts = {part.strip() for quote in re.findall(r'"([^"]+)"', page) for part in quote.split("...")} - {""}
    assert {part for part in parts if not any(part in text for text in said)} == set()


def test_the_oldest_supported_set_is_that_of_the_lower_bounds():
    bounds = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*bounds["dependencies"], *(one for extra in bounds["optional-dependencies"].values() for one in extra)]
    lowest = {found[1].lower(): found[2] for one in wanted if (found := re.match(r"([\w-]+)>=([\d.]+)", one))}
    pins = (ROOT / ".ci" / "floor.txt").read_text(encoding="utf-8")
    for name, pin in re.findall(r"^([\w-]+)==([\d.]+)$", pins, re.MULTILINE):
        low = lowest[name.lower()]
        assert f"{pin}.".startswith(f"{low}."), f"{name}: {low} in pyproject.toml, {pin} in .ci/floor.txt"

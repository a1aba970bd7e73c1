"""Binder's files as far as they can be tried without docker: whole, and starting what they say."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import requests

BINDER = Path(__file__).parent.parent / "binder"


@pytest.mark.parametrize("name", ["start", "postBuild"])
def test_scripts_can_be_run(name):
    path = BINDER / name
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!")
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_start_ends_in_what_binder_asks_for():
    assert (BINDER / "start").read_text().rstrip().endswith('exec "$@"')


def test_settings_are_whole_and_the_notebook_is_there():
    assert json.loads((BINDER / "overrides.json").read_text())
    config = (BINDER / "jupyter_lab_config.py").read_text()
    compile(config, "jupyter_lab_config.py", "exec")
    page = config.split("/lab/tree/")[1].split('"')[0]
    assert (BINDER.parent / page).exists()
    assert "ipykernel>=7.1" in (BINDER / "requirements.txt").read_text()


def test_the_image_on_top_of_another_is_made_of_what_is_there():
    """The recipe in the docs, line by line: each file it copies from the checkout exists, and what it installs, too."""
    text = (BINDER.parent / "docs" / "jupyterhub.md").read_text()
    recipe = text.split("```dockerfile\n")[1].split("```")[0]
    copied = re.findall(r"^COPY (?:--\S+ )?(\S+) \S+$", recipe, re.MULTILINE)
    assert len(copied) == 3 and all((BINDER.parent / one).exists() for one in copied)
    (extra,) = re.findall(r"\[(\w+)\]", recipe)
    project = tomllib.loads((BINDER.parent / "pyproject.toml").read_text())["project"]
    assert extra in project["optional-dependencies"]


def test_start_tells_the_notebooks_where_the_server_is():
    env = {name: value for name, value in os.environ.items() if not name.startswith("XNAT_")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    command = "import json, os; print(json.dumps({n: v for n, v in os.environ.items() if n.startswith('XNAT_')}))"
    process = subprocess.Popen(
        [str(BINDER / "start"), "python", "-c", command],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told = json.loads(process.stdout.readline())
        answer = requests.get(
            f"{told['XNAT_HOST']}/data/projects/DEMO_SOURCE/experiments",
            auth=(told["XNAT_USER"], told["XNAT_PASS"]),
            timeout=60,
        )
        assert answer.status_code == 200 and "001_MR1" in answer.text
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()

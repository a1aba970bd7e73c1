"""Every notebook and template runs from top to bottom against the embedded server (nbval, lax)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xnbtransfer import server as embedded

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("folder", ["notebooks", "templates"])
def test_notebooks_run_from_top_to_bottom(folder, tmp_path):
    """The templates that need a record of an earlier run are shown by `test_notebook.py`."""
    left_out = shutil.ignore_patterns(".*", "verify.ipynb", "finish-move.ipynb")
    shutil.copytree(ROOT / folder, tmp_path / folder, ignore=left_out)
    with embedded.running(demo=True) as server:
        user, password = server.accounts["owner"]
        env = {**os.environ, "XNAT_HOST": server.url, "XNAT_USER": user, "XNAT_PASS": password}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", folder],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert password not in done.stdout

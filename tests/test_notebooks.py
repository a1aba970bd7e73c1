"""Every notebook runs from top to bottom against the embedded server (nbval, lax); templates: test_notebook.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from xnbtransfer import server as embedded

ROOT = Path(__file__).parent.parent


def test_notebooks_run_from_top_to_bottom(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    with embedded.running(demo=True) as server:
        user, password = server.accounts["owner"]
        env = {**os.environ, "XNAT_HOST": server.url, "XNAT_USER": user, "XNAT_PASS": password}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "."],
            cwd=tmp_path / "notebooks",
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert password not in done.stdout

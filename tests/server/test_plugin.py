"""The fixtures for other people's tests, tried with the example of the documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "testing-with-the-server.md").read_text(encoding="utf-8")


def test_the_example_of_the_documentation_runs(tmp_path):
    for block in re.findall(r"```python\n(# \w+\.py\n.*?)```", PAGE, re.DOTALL):
        name = re.match(r"# (\w+\.py)\n", block)[1]
        (tmp_path / name).write_text(block, encoding="utf-8")
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
                          capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_nothing_heavy_is_imported_before_a_test_asks():
    code = "import sys, xnbtransfer.server.pytest_plugin; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert not {"starlette", "uvicorn", "pandas", "numpy", "pydicom", "xnat", "requests"} & set(found.split())

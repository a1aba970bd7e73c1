"""A real Jupyter server in private folders, and a real browser that may speak to this machine only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, expect

ROOT = Path(__file__).parent.parent.parent
PICTURES = os.environ.get("XNBTRANSFER_PICTURES", "")
# generous: a condition is waited for, and a loaded machine is slow
WAIT_MS = 1000 * int(os.environ.get("XNBTRANSFER_PATIENCE_S", "120"))
expect.set_options(timeout=WAIT_MS)
_NEWS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
_THEME = {"theme": "JupyterLab Dark"}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Jupyter:
    """JupyterLab, Notebook 7 or Voilà over one folder; ``through`` is a script that starts it."""

    def __init__(
        self, folder: Path, app: str = "jupyterlab", *options: str, dark: bool = False, through: str = ""
    ) -> None:
        self.folder, self.work = folder, folder / "work"
        self.work.mkdir(parents=True)
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(_NEWS))
        if dark:
            (settings / "themes.jupyterlab-settings").write_text(json.dumps(_THEME))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        env = {name: value for name, value in os.environ.items() if not name.startswith("XNAT_")}
        places = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        env |= {name: str(folder / place) for name, place in places.items()} | {"NETRC": str(folder / "netrc")}
        common = [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", "--no-browser", "--ServerApp.token="]
        common += ["--ServerApp.password=", "--ServerApp.allow_root=True", f"--ServerApp.root_dir={self.work}"]
        if app == "voila":
            common = [f"--port={self.port}", "--no-browser", "--Voila.ip=127.0.0.1"]
        else:
            common.append("--LabApp.expose_app_in_browser=True")
            if app == "notebook":
                common[-1] = "--JupyterNotebookApp.expose_app_in_browser=True"
        self.log = (folder / "jupyter.log").open("w")
        command = [*([through] if through else []), sys.executable, "-m", app, *common, *options]
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        self.process = subprocess.Popen(
            command, cwd=self.work, env=env, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )
        until = time.monotonic() + WAIT_MS / 1000
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/" if app == "voila" else f"{self.url}/api", timeout=5).read()
                return
            except urllib.error.HTTPError:
                return  # it is there
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    told = (folder / "jupyter.log").read_text()[-2000:]
                    raise AssertionError(f"{app} did not start: {told}") from None
                time.sleep(0.1)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what a script has started beside it, too
        self.process.wait()
        self.log.close()

    def put(self, name: str, *cells: str) -> Path:
        """A notebook with these code cells; without any, one of the package."""
        import nbformat

        path = self.work / f"{name}.ipynb"
        if not cells:
            shutil.copy(ROOT / "notebooks" / path.name, path)
            return path
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, path)
        return path

    def login_of(self, server, role: str = "member") -> str:
        """Python that logs in as on a hub: the environment is read from a file, so no cell holds a password."""
        user, password = server.accounts[role]
        path = self.folder / f"env-{server.url.rpartition(':')[2]}.json"
        path.write_text(json.dumps({"XNAT_HOST": server.url, "XNAT_USER": user, "XNAT_PASS": password}))
        return f"import json, os\nos.environ.update(json.load(open({str(path)!r})))"


class Lab:
    """One notebook in JupyterLab or Notebook 7, as a page."""

    def __init__(self, page: Page, jupyter: Jupyter, name: str) -> None:
        self.page, self.jupyter, self.name = page, jupyter, name

    def open(self, *, tree: bool = False) -> None:
        """Open it, and wait until its kernel is idle."""
        where = f"notebooks/{self.name}.ipynb" if tree else f"lab/workspaces/{self.name}/tree/{self.name}.ipynb?reset"
        self.page.goto(f"{self.jupyter.url}/{where}")
        self.wait_idle()

    def wait_idle(self) -> None:
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=WAIT_MS,
        )

    def run_all(self) -> None:
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def save(self) -> str:
        """Save it; returns the text of the file."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        self.page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=WAIT_MS)
        return (self.jupyter.work / f"{self.name}.ipynb").read_text(encoding="utf-8")

    def ask(self, code: str) -> str:
        """Evaluate an expression in the kernel; returns what it prints."""
        script = """async (code) => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const future = kernel.requestExecute({code, store_history: false});
            let told = '';
            future.onIOPub = (message) => {
                if (message.header.msg_type === 'stream') told += message.content.text;
                if (message.header.msg_type === 'error') told += message.content.ename + ': ' + message.content.evalue;
            };
            await future.done;
            return told;
        }"""
        return self.page.evaluate(script, f"print({code})").strip()

    def until(self, code: str, told: str) -> None:
        """Wait until an expression in the kernel prints this: what a widget sends takes another way than a question."""
        end = time.monotonic() + WAIT_MS / 1000
        while (found := self.ask(code)) != told:
            assert time.monotonic() < end, found
            time.sleep(0.05)

    def kill_kernel(self) -> None:
        """Kill the kernel as a hub's culler or the machine would: without asking it."""
        pid = int(self.ask("__import__('os').getpid()"))
        os.kill(pid, 9)

    def restart_kernel(self) -> None:
        """What JupyterLab does by itself after its kernel died; waits until it is idle again."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
        self.wait_idle()


def shot(page: Page, name: str) -> None:
    """Keep pictures of the page where ``XNBTRANSFER_PICTURES`` asks for them: wide and narrow, light and dark."""
    if not PICTURES:
        return
    Path(PICTURES).mkdir(parents=True, exist_ok=True)
    # neither a saved page nor Voilà can change its theme
    themed = page.evaluate("() => Boolean(window.jupyterapp?.commands.hasCommand('apputils:change-theme'))")
    usual = page.viewport_size
    light = page.locator("body").get_attribute("data-jp-theme-light") if themed else ""
    for theme, dark in ((light, ""), *((("false", "-dark"),) if light == "true" else ())):
        _theme(page, theme)
        for width, narrow in ((usual["width"], ""), (700, "-narrow")):
            page.set_viewport_size({"width": width, "height": usual["height"]})
            page.screenshot(path=f"{PICTURES}/{name}{dark}{narrow}.png")
        page.set_viewport_size(usual)
    _theme(page, light)


def _theme(page: Page, light: str) -> None:
    """Light ("true") or dark ("false"); where a page has no themes (""), nothing happens."""
    if light and page.locator("body").get_attribute("data-jp-theme-light") != light:
        name = "JupyterLab Light" if light == "true" else "JupyterLab Dark"
        page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", light)
        expect(page.locator("#jupyterlab-splash")).to_have_count(0)  # it covers the page while a theme is loaded


def button(page: Page, name: str):
    """A button of the guide that can be pressed, by its words."""
    return page.locator(".xnb-guide").get_by_role("button", name=name, exact=True).locator("visible=true")


def press(page: Page, name: str) -> None:
    """Press a button once it is enabled."""
    one = button(page, name)
    expect(one).to_be_enabled(timeout=WAIT_MS)
    one.click()


def step_is(page: Page, title: str) -> None:
    """Wait until a step is the current one and nothing is being done."""
    expect(page.locator(".xnb-stepper [aria-current=step]")).to_contain_text(title, timeout=WAIT_MS)
    expect(page.locator(".xnb-busy").first).to_have_text("", timeout=WAIT_MS)


def violations(page: Page, within: str = ".xnb-guide") -> list[str]:
    """What axe-core finds in the page, one line a rule; the script comes from a package, not from the network."""
    from importlib.resources import files

    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("(within) => window.axe.run(within, {resultTypes: ['violations']})", within)
    return [
        f"{one['id']}: {one['help']} ({len(one['nodes'])}): {one['nodes'][0]['html'][:200]} "
        f"{one['nodes'][0]['failureSummary'][:300]}"
        for one in found["violations"]
    ]


WIDTHS = (700, 1400)
_BEYOND = """() => {
    const told = (one) => `${one.tagName.toLowerCase()}.${one.className}: ${one.textContent.trim().slice(0, 60)}`;
    const found = [];
    for (const guide of document.querySelectorAll('.xnb-guide')) {
        const area = guide.closest('.jp-OutputArea-output') || guide.parentElement;
        const edge = area.getBoundingClientRect().left + area.clientWidth;
        if (area.scrollWidth > area.clientWidth) found.push('it scrolls as a whole');
        for (const one of guide.querySelectorAll('*')) {
            if (!one.getClientRects().length || one.closest('.unseen')) continue;
            const own = one.closest('.grid, div[style*="overflow-x"]');  // what is wide is scrolled in a box of its own
            if (own && own !== one) continue;
            if (one.getBoundingClientRect().right > edge + 1) found.push(`beyond the edge: ${told(one)}`);
            if (own || one.matches('input, select, option, select *')) continue;
            if (one.clientWidth && one.scrollWidth > one.clientWidth + 1) found.push(`cut off: ${told(one)}`);
        }
    }
    return found;
}"""


def beyond(page: Page) -> list[str]:
    """What of the guide reaches beyond its output area or its own box, on a narrow page and on a wide one."""
    usual, found = page.viewport_size, []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": usual["height"]})
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found += [f"{width} px: {one}" for one in page.evaluate(_BEYOND)]
    page.set_viewport_size(usual)
    return found

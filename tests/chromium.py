"""Debian's Chromium in front of a running server, and what goes wrong in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sample_index
from clients import isolated
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from extrapypi import database, schema
from extrapypi.storage import get_store

CHECKOUT = Path(__file__).parent.parent
PATIENCE = 20_000  # milliseconds that a page may take; two cores and many tests
SERVER = """\
import sys
from extrapypi.app import create_app
from extrapypi.serving import Server
server = Server(create_app(sys.argv[1]))
print(server.port, flush=True)
server.run()
"""
CONFIG = """\
BASE_DIR = {base!r}
DATABASE_URL = "sqlite:///{base}/extrapypi.db"
STORAGE_PARAMS = {{"packages_root": "{base}/packages"}}
SECRET_KEY = "a key that only the tests have"
HOST, PORT = "127.0.0.1", {port}
"""
OPTIONS = (
    "--no-sandbox",  # it cannot be had in a container, or by root
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
)


@contextmanager
def server(folder: Path, is_filled: bool = True, port: int = 0) -> Iterator[str]:
    """The URL of a server of its own below the folder, with the sample's index or only people."""
    config, log = folder / "config.py", folder / "stderr"
    config.write_text(CONFIG.format(base=str(folder), port=port), encoding="utf-8")
    database.bind(f"sqlite:///{folder}/extrapypi.db")
    try:
        schema.upgrade()
        storage = get_store("LocalStorage", {"packages_root": str(folder / "packages")})
        with database.connection():
            sample_index.fill(storage) if is_filled else sample_index.add_people()
    finally:
        database.close()
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(config)],
            env={**isolated(folder), "PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with process:
        try:
            announced = process.stdout.readline().strip()
            assert announced, f"The server did not start: {log.read_text()}"
            yield f"http://127.0.0.1:{announced}"
        finally:
            process.terminate()
    assert process.returncode == 0
    assert "Traceback" not in log.read_text()


def installed() -> str | None:
    """The path of Chromium, if it is there."""
    return shutil.which("chromium")


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window; nothing is downloaded for it, and only CI has to have it."""
    if installed() is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=installed(), args=[*OPTIONS])
        yield launched
        launched.close()


class Visitor:
    """Somebody with a browser window of one's own, at a server.

    ``faults`` is what no visit may bring: errors and warnings in the console, refused content,
    requests to other hosts, files that are missing.
    """

    def __init__(self, browser: Browser, url: str, **options: object) -> None:
        self.url = url
        self.faults: list[str] = []
        self.context: BrowserContext = browser.new_context(base_url=url, **options)
        self.context.set_default_timeout(PATIENCE)
        self.context.on("request", self._on_request)
        self.context.on("response", self._on_response)
        self.context.on("console", self._on_console)
        self.context.on("weberror", lambda error: self.faults.append(str(error.error)))
        self.page: Page = self.context.new_page()

    def _on_request(self, request) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.faults.append(f"a request to {request.url}")

    def _on_response(self, response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.faults.append(f"{response.status} for {response.url}")

    def _on_console(self, message) -> None:
        # That the page itself has a status such as 403 is in the console, too.
        is_status = message.location["url"] == self.page.url and "with a status of" in message.text
        if message.type in ("error", "warning") and not is_status:
            self.faults.append(f"{message.type} on {self.page.url}: {message.text}")

    def log_in(self, username: str) -> None:
        """Fills in the form; the page that comes then is the one that was asked for."""
        if "/dashboard/login" not in self.page.url:
            self.page.goto("/dashboard/login")
        self.page.get_by_label("User name").fill(username)
        self.page.get_by_label("Password").fill(sample_index.password(username))
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("link", name="Log out").wait_for()

    def close(self) -> None:
        self.context.close()

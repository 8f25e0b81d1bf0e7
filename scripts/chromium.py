"""Find a Chromium for the browser tests, or get one, and open it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# once the page stands and our nodes are known to it
READY = "() => !!(window.app?.graph && window.LiteGraph?.registered_node_types?.TastemakerRank)"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def find() -> str | None:
    """Path of a Chromium or Chrome that is there: `CHROMIUM`, the PATH, or Playwright's own."""
    named = [os.environ.get("CHROMIUM"), *map(shutil.which, NAMES), *MAC, _playwrights()]
    return next((path for path in named if path and Path(path).exists()), None)


def _playwrights() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def find_or_get() -> str | None:
    """Return a Chromium, installing Debian's as root, else Playwright's; None where neither can be had."""
    found = find()
    if found:
        return found
    attempts = []
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        attempts += [["apt-get", "-q", "update"], ["apt-get", "-qy", "install", "chromium"]]
    attempts.append([sys.executable, "-m", "playwright", "install", "chromium"])
    for command in attempts:
        print(f"[tastemaker] trying to get Chromium: {' '.join(command)}", flush=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=False, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, **quiet)
        found = find()
        if found:
            return found
    return None


def opened(playwright: Any, path: str) -> Any:
    """Open the browser at a path, so that it asks the network nothing by itself."""
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return playwright.chromium.launch(executable_path=path, args=quiet)

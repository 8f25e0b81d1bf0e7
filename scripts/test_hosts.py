"""Run the tests that need ComfyUI against other versions of it, each with its own packages and page.

    python -m scripts.test_hosts [versions] [-- pytest's arguments]

Without versions, every one in `.cache/hosts` (`python -m scripts.comfy.hosts get` puts them there), the
oldest first. `-- tests/page` runs the page's tests alone, `-- -m "not browser"` all others. The tests
themselves run in the host's environment too, so that what they import of it is of its version.
`COMFY_FRONTEND_ROOT` serves another page. Ends with a table.
"""

from __future__ import annotations

import os
import sys
import time

from . import chromium
from .comfy import hosts
from .test_versions import run_tests, show, versions

SHOWN = ("comfyui-frontend-package", "torch", "transformers")
TESTS = ("tests/nodes", "tests/page", "tests/training/test_host.py")


def test(version: str, arguments: list[str]) -> list[str]:
    """Run the tests against one host. Returns its row of the table."""
    python = hosts.get(version)
    environment = os.environ | {"COMFYUI_PATH": str(hosts.tree(version)), "COMFYUI_PYTHON": str(python)}
    browser = chromium.find()
    if browser:
        environment["CHROMIUM"] = browser
    paths = [] if any(a.startswith("tests") for a in arguments) else list(TESTS)
    begun = time.monotonic()
    code, last = run_tests(python, [*paths, *arguments], environment)
    seconds = f"{time.monotonic() - begun:.0f} s"
    return [version, *versions(python, SHOWN).values(), "passed" if code == 0 else "FAILED", seconds, last]


def main() -> None:
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    wanted = arguments[:end] or hosts.there()
    if not wanted or any(not name[0].isdigit() for name in wanted):
        sys.exit(__doc__)
    rows = [test(version, arguments[end + 1 :]) for version in wanted]
    show([["ComfyUI", *SHOWN, "tests", "", ""], *rows])
    sys.exit(int(any("FAILED" in row for row in rows)))


if __name__ == "__main__":
    main()

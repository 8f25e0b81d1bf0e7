"""Check the library's types with mypy: `python -m scripts.check_types`.

The repository's root is the package `tastemaker`; a link of that name under `.cache/` lets mypy, and the API
reference, find it.
"""

from __future__ import annotations

import subprocess
import sys

from .comfy.locate import ROOT

ROOMS = ("core", "images", "plots", "loaders", "sampling", "rewards", "ranking", "taste", "training", "evaluation")


def linked() -> None:
    """Make the link `.cache/typed/tastemaker`."""
    link = ROOT / ".cache" / "typed" / "tastemaker"
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.resolve() != ROOT.resolve():  # a copy of the repository, `.cache/` included, has the first one's link
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)


def main() -> None:
    linked()
    packages = [word for room in ROOMS for word in ("-p", f"tastemaker.{room}")]
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *packages]
    sys.exit(subprocess.run(command, cwd=ROOT / ".cache" / "typed").returncode)


if __name__ == "__main__":
    main()

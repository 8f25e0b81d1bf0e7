"""Run the library's tests with the lowest supported versions of its requirements, and with the newest.

    python -m scripts.test_versions [lowest | highest]

Each end has an environment of its own under `.cache/`, made on the first run; `rm -r .cache/versions-*`
fetches the newest again. torch is the same in both, the one of `bootstrap.py`. Slow tests and the
browser's are left out.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

from .bootstrap import ROOT, TORCH

SHOWN = ("diffusers", "transformers", "safetensors", "huggingface_hub", "Pillow", "torch")
BESIDE = ("numpy", "pytest", "torchsde")  # what the tests, or ComfyUI itself, bring along
TESTS = ("tests/loaders", "tests/sampling", "tests/rewards")


def requirements(end: str) -> list[str]:
    """Return the lines of requirements.txt, pinned to their floors for the lowest end."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    return [line.replace(">=", "==") for line in lines] if end == "lowest" else lines


def environment(end: str) -> Path:
    """Return the Python of an end's environment, made when it is not there or its requirements have changed."""
    folder = ROOT / ".cache" / f"versions-{end}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = [TORCH, *BESIDE, *requirements(end)]
    stamp = folder / "tastemaker.stamp"
    name = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == name:
        return python
    print(f"[tastemaker] making {folder.relative_to(ROOT)}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    held = folder / "held.txt"
    held.write_text(TORCH + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "-c", str(held), *wanted], check=True)
    subprocess.run([*pip, "--no-deps", "-e", str(ROOT)], check=True)
    stamp.write_text(name)
    return python


def versions(python: Path, names: tuple[str, ...] = SHOWN) -> dict[str, str]:
    """Return the installed versions of packages in an environment."""
    code = f"from importlib.metadata import version\nfor n in {names!r}: print(version(n))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.split(), strict=True))


def run_tests(python: Path, arguments: list[str], environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run pytest in an environment; its code and the last line it wrote."""
    command = [str(python), "-m", "pytest", *arguments, "-q", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    last = ""
    for line in process.stdout or ():
        print(line, end="", flush=True)
        last = line.strip() or last
    return process.wait(), re.sub(r"^=+ | =+$", "", last)


def show(rows: list[list[str]]) -> None:
    """Print a table; its first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    ends = sys.argv[1:] or ["lowest", "highest"]
    if not set(ends) <= {"lowest", "highest"}:
        sys.exit(__doc__)
    rows, failed = [], False
    for end in ends:
        python = environment(end)
        code, last = run_tests(python, [*TESTS, "-m", "not slow and not browser"])
        failed = failed or code != 0
        rows.append([end, *versions(python).values(), "passed" if code == 0 else "FAILED", last])
    show([["", *SHOWN, "tests", ""], *rows])
    sys.exit(int(failed))


if __name__ == "__main__":
    main()

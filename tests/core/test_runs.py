"""A run's lock: one process at a time, let go of however that process ends; and the one strict JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tastemaker.core.errors import InputError
from tastemaker.core.files import parse_json
from tastemaker.core.runs import locked, writing

_HOLDER = """
import sys, time
from pathlib import Path
from tastemaker.core.runs import locked
held = locked(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(os.path.realpath(tmp_path)) / "run.lock"


def test_a_lock_ends_with_the_process_that_is_killed(path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="Another run is at work in it"):
            locked(path)
        holder.kill()
        holder.wait()
        locked(path).close()
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()


def test_a_lock_is_held_once_until_it_is_closed(path: Path) -> None:
    with locked(path):
        for _ in range(2):  # a refusal leaves the holder's lock alone
            with pytest.raises(InputError, match="Another run is at work in it"):
                locked(path)
    locked(path).close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as on Linux and macOS")
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_only_a_file_is_a_lock(path: Path, kind: str) -> None:
    outside = path.with_name("outside")
    if kind == "link":
        outside.write_text("kept")
        path.symlink_to(outside)
    elif kind == "dangling":
        path.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OSError, match="link|no regular file"):
        locked(path)
    assert outside.exists() == (kind == "link")
    assert kind != "link" or outside.read_text() == "kept"


def test_what_cannot_be_written_is_named_without_its_folder(path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"run_folder.*No space left on device.*intact.*run\.lock") as caught,
        writing(path),
    ):
        raise OSError(28, "No space left on device", str(path))
    assert str(path.parent) not in str(caught.value)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', "[NaN]", "[Infinity]", "[" * 100_000, b'"\xff"', "{"])
def test_json_that_two_readers_would_read_differently_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="."):
        parse_json(text)


def test_infinity_is_read_where_it_is_asked_for() -> None:
    assert parse_json(b"[-Infinity, 1]", infinite=True) == [float("-inf"), 1]
    with pytest.raises(ValueError, match="NaN is no number"):
        parse_json("[NaN]", infinite=True)

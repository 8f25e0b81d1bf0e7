"""Files are opened only where they are files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tastemaker.loaders.files import open_regular


def test_a_regular_file_and_a_link_to_one_are_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes\r\n")
    (tmp_path / "b").symlink_to("a")
    for name in ("a", "b"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"bytes\r\n"


def refused(path: Path) -> OSError:
    """The error of opening `path`, which must come at once: a plain open of a pipe waits for a writer."""
    found: list[OSError] = []

    def work() -> None:
        try:
            open_regular(path).close()
        except OSError as e:
            found.append(e)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "still waiting"
    assert found, "opened"
    return found[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop", "nothing"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to("x")
    assert kind in ("loop", "nothing") or "no regular file" in str(refused(path))
    assert isinstance(refused(path), OSError)
    assert str(tmp_path) not in str(refused(path)) or kind in ("loop", "nothing")


def test_a_pipe_that_takes_a_files_place_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    looked = os.stat(tmp_path / "file")
    monkeypatch.setattr(os, "stat", lambda path: looked)
    assert "no regular file" in str(refused(tmp_path / "pipe"))

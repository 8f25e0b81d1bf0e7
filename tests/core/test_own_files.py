"""Folders that are ours: no link in them is followed, only files are opened, what a kill left is swept."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tastemaker.core.errors import InputError, shown
from tastemaker.core.files import append_own, check_own, open_own, own_folder, read_own, replacing, sweep
from tests.promptly import promptly

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as on Linux and macOS")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(os.path.realpath(tmp_path))


def test_a_linked_folder_is_neither_made_nor_entered(root: Path) -> None:
    (root / "outside").mkdir()
    (root / "run").mkdir()
    (root / "run" / "samples").symlink_to(root / "outside")
    for folder in (root / "run" / "samples", root / "run" / "samples" / "deeper"):
        with pytest.raises(OSError, match="not followed"):
            own_folder(folder)
    assert list((root / "outside").iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "device", "folder", "large"])
def test_only_files_of_a_size_are_read_and_at_once(root: Path, kind: str) -> None:
    path = root / "x"
    if kind == "link":
        (root / "secret").write_text("secret")
        path.symlink_to("secret")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(10 * 2**30)  # 10 GB of zeros that take no room
    with promptly(1):
        with pytest.raises(OSError, match="not followed|no regular file|over the limit") as caught:
            read_own(path, 100)
        assert str(root) not in str(caught.value.strerror)
        if kind != "large":
            for work in (lambda: check_own(path), lambda: open_own(path), lambda: append_own(path, b"more")):
                with pytest.raises(OSError, match="link|no regular file"):
                    work()
    assert kind != "link" or (root / "secret").read_text() == "secret"


def test_appending_makes_a_file_and_goes_on_at_its_end(root: Path) -> None:
    append_own(root / "x", b"one\n")
    append_own(root / "x", b"two\n")
    assert read_own(root / "x", 8) == b"one\ntwo\n"


def test_new_files_have_the_mode_that_the_umask_leaves(root: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(root / "x") as temporary:
            temporary.write_bytes(b"x")
            os.chmod(temporary, 0o600)  # as some writers do
    finally:
        os.umask(before)
    assert (root / "x").stat().st_mode & 0o777 == 0o640


def test_only_old_halves_of_ours_are_swept(root: Path) -> None:
    (root / "outside").write_text("kept")
    for name in (".a.png.12345678.tastemaker.part", ".b.tastemaker.part", ".theirs.part", "c.tastemaker.part"):
        (root / name).write_text("x")
    (root / ".l.tastemaker.part").symlink_to("outside")
    old = time.time() - 7200
    for name in (".a.png.12345678.tastemaker.part", ".theirs.part", "c.tastemaker.part"):
        os.utime(root / name, (old, old))
    sweep(root)
    assert sorted(p.name for p in root.iterdir()) == [
        *(".b.tastemaker.part", ".l.tastemaker.part", ".theirs.part", "c.tastemaker.part", "outside")
    ]
    sweep(root, older=0, ending=".part")
    assert sorted(p.name for p in root.iterdir()) == ["c.tastemaker.part", "outside"]


def test_an_error_can_show_anything() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "cannot be shown" in str(InputError("x", Odd(), "No."))
    assert "cannot be shown" in str(InputError("x", 10**5000, "No."))
    assert shown(Path("a")) == repr(Path("a"))


def test_an_error_names_no_module_of_an_object() -> None:
    """In a host our modules are called by the folder they lie in."""

    class Reward:
        pass

    Reward.__module__ = "/home/me/ComfyUI/custom_nodes/tastemaker.nodes"
    assert shown(Reward()) == shown(Reward) == "a Reward"
    assert shown("\ud800").isascii()
    assert len(shown("a" * 1000)) == 120

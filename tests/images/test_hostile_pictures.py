"""Pictures, caches and saving under attack: one bad file stops nothing, and nothing outside is read or written."""

from __future__ import annotations

import errno
import os
import sqlite3
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tastemaker.core.progress import Progress
from tastemaker.images.decode import PictureError
from tastemaker.images.folder import read_folder
from tastemaker.images.pictures import TensorPictures
from tastemaker.loaders import InputError
from tastemaker.ranking import ScoreTable
from tastemaker.ranking.cache import ScoreCache
from tastemaker.ranking.output import save
from tastemaker.ranking.scoring import score_pictures
from tastemaker.ranking.table import rank_table
from tastemaker.rewards import Reward
from tests.promptly import promptly

BRIGHT = Reward("brightness", lambda images, prompts: images.mean((1, 2, 3)), False, "0 to 1.", "f" * 16)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*more: bytes, colour: int = 2, side: int = 64) -> bytes:
    """A PNG by hand: 8 bits, `colour` 3 is a palette's."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0))
    row = b"\0" + b"\0" * side * (3 if colour == 2 else 1)
    body = chunk(b"IDAT", zlib.compress(row * side))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + body + chunk(b"IEND", b"")


def picture(path: Path, tint: int = 0) -> None:
    Image.new("RGB", (8, 8), (tint, 100, 200)).save(path)


def test_a_palette_png_without_a_palette_is_one_broken_file(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    (tmp_path / "odd.png").write_bytes(png(colour=3))
    found = read_folder(tmp_path)
    scored = score_pictures(found.pictures, [""], BRIGHT, seeds=found.seeds)
    assert len(scored.table) == 1
    rows = (*found.broken, *scored.broken)
    assert [name for name, _ in rows] == ["odd.png"]
    assert rows[0][1].strip()


def test_a_link_to_itself_stops_no_folder(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "loop.png").symlink_to("loop.png")
    found = read_folder(tmp_path, recursive=True)
    assert [file.name for file in found.pictures.files] == ["good.png"]
    assert [name for name, _ in found.broken] == ["sub/loop.png"]
    assert str(tmp_path) not in str(found.broken)


def bomb(count: int, size: int = 2**24 - 10) -> bytes:
    text = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"A" * size, 9))
    return png(*([text] * count))


def test_texts_that_unpack_without_end_are_not_unpacked_without_end(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    (tmp_path / "bomb.png").write_bytes(bomb(500))
    (tmp_path / "many.png").write_bytes(bomb(500, 10))
    (tmp_path / "once.png").write_bytes(bomb(1))
    with promptly(2):  # all 500 took 26 s
        found = read_folder(tmp_path)
    assert [file.name for file in found.pictures.files] == ["good.png", "once.png"]
    assert {name for name, _ in found.broken} == {"bomb.png", "many.png"}
    assert all("more text than any program" in why for _, why in found.broken)


def test_a_cancel_works_within_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(bomb(3))

    class Cancelled(Progress):
        calls = 0

        def check_cancelled(self) -> None:
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt

    progress = Cancelled()
    with pytest.raises(KeyboardInterrupt):
        read_folder(tmp_path, progress=progress)
    assert progress.calls == 2  # of the three texts in the file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_what_is_no_picture_file_is_said_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture(folder / "good.png")
    picture(tmp_path / "secret.png")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "good.txt")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "folder.png").mkdir()
    with (folder / "zeros.png").open("wb") as file:
        file.truncate(10 * 2**30)
    with promptly(1):
        found = read_folder(folder)
    assert [file.name for file in found.pictures.files] == ["good.png"]
    why = dict(found.broken)
    assert why["pipe.png"] == "is no ordinary file"
    assert "leads out" in why["device.png"]
    assert "leads out" in why["out.png"]
    assert "over the limit" in why["zeros.png"]
    assert str(tmp_path) not in str(found.broken)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_picture_changed_for_something_else_before_saving(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture(folder / "a.png")
    picture(tmp_path / "secret.png", 7)
    found = read_folder(folder)
    scored = score_pictures(found.pictures, [""], BRIGHT, seeds=found.seeds)
    ranked = rank_table(scored.table, top_k=0, group_by="all")[0]
    (folder / "a.png").unlink()
    if kind == "pipe":
        os.mkfifo(folder / "a.png")
    else:
        (folder / "a.png").symlink_to(tmp_path / "secret.png")
    with promptly(1):
        with pytest.raises(InputError, match=r"a\.png"):
            save.save_table(ranked, tmp_path / "out", "best_", parts=["pictures"])
        with pytest.raises(PictureError):
            found.pictures.rows([0]).picture(0)
    assert list((tmp_path / "out").iterdir()) == []


# --- saving -----------------------------------------------------------------------------------


def table() -> ScoreTable:
    images = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    made = ScoreTable(images, ("a", "b"), (1, 2), {"r": torch.tensor([1.0, 2.0])}, "r")
    return rank_table(made, top_k=0, group_by="all")[0]


def test_a_full_disk_names_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(save, "write_atomic", full)
    with pytest.raises(InputError, match="filename_prefix: .*No space left") as caught:
        save.save_table(table(), tmp_path / "out", "best_")
    assert str(tmp_path) not in str(caught.value)


def test_halves_that_a_kill_left_are_swept_at_the_next_saving(tmp_path: Path) -> None:
    half = tmp_path / ".best_00001_01.png.abcdefgh.tastemaker.part"
    half.write_bytes(b"half")
    os.utime(half, (time.time() - 7200,) * 2)
    save.save_table(table(), tmp_path, "best_", parts=["csv"])
    assert [p.name for p in tmp_path.iterdir()] == ["best_ranking.csv"]


@pytest.mark.parametrize("key", ["\u202e", "", "a" * 80, "\ud800", "a\0b"], ids=ascii)
def test_names_that_no_png_holds_are_refused_by_name(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match="extra_pnginfo"):
        save.save_table(table(), tmp_path, "best_", metadata={key: 1}, parts=["pictures"])


# --- the score cache --------------------------------------------------------------------------


def scored_with(path: Path) -> Any:
    pictures = TensorPictures(torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(0)))
    with ScoreCache(path) as cache:
        return score_pictures(pictures, ["", ""], BRIGHT, seeds=[1, 2], cache=cache)


def test_a_view_or_a_column_more_in_the_cache_is_not_computed(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS digest, x AS columns FROM n"
    for number, change in enumerate(
        (f"DROP TABLE scores; CREATE VIEW scores AS {endless}", "ALTER TABLE scores ADD COLUMN more")
    ):
        path = tmp_path / f"{number}.sqlite"
        expected = scored_with(path).table.scores["brightness"]
        with sqlite3.connect(path) as file:
            file.executescript(change)
        with promptly(5):
            found = scored_with(path)
        assert torch.equal(found.table.scores["brightness"], expected)
        assert "damaged" in found.note
        assert scored_with(path).remembered == 2  # the new file is well


def test_a_score_of_400_digits_is_no_score(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    expected = scored_with(path).table.scores["brightness"]
    with sqlite3.connect(path) as file:
        file.execute("UPDATE scores SET columns = ?", ('{"brightness": ' + "9" * 400 + "}",))
    found = scored_with(path)
    assert torch.equal(found.table.scores["brightness"], expected)
    assert found.remembered == 0


def test_a_key_that_is_a_path_is_not_taken(tmp_path: Path) -> None:
    """Keys become part of files' names."""
    folder = tmp_path / "in"
    folder.mkdir()
    picture(folder / "a.png")
    os.utime(folder / "a.png", (1, 1))
    found = read_folder(folder)
    key = found.pictures.key(0)
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        cache.remember_keys(found.pictures, [0])
    with sqlite3.connect(tmp_path / "scores.sqlite") as file:
        file.execute("UPDATE files SET key = ?", ("../" * 21 + "x",))
    again = read_folder(folder)
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        cache.recall_keys(again.pictures)
    assert again.pictures.key(0) == key


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_in_the_caches_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scores.sqlite")
    with promptly(2):
        found = scored_with(tmp_path / "scores.sqlite")
    assert len(found.table) == 2
    assert "no regular file" in found.note
    assert str(tmp_path) not in found.note

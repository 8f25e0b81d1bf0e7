"""WebDataset shards: captions, seeds, limits, and tar files that are not what they say."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tastemaker.core.errors import InputError
from tastemaker.images import shards
from tastemaker.images.shards import Piece, read_shard
from tests.ranking.scale_files import png, write_shard


def only(path: Path, **options: object) -> Piece:
    (piece,) = read_shard(path, **options)
    return piece


def test_captions_come_from_the_members_beside(tmp_path: Path) -> None:
    members = {
        "a.png": png(1, (6, 9)),
        "a.txt": b"a red dog",
        "b.jpg": png(2, kind="JPEG"),
        "b.json": json.dumps({"caption": "a cat", "seed": 7}).encode(),
        "c.png": png(3),
        "d.cls": b"4",
    }
    piece = only(write_shard(tmp_path / "s.tar", members), default_prompt="anything")
    assert piece.prompts == ("a red dog", "a cat", "anything")
    assert piece.seeds == (None, 7, None)
    assert piece.pictures.size(0) == (6, 9)
    assert tuple(piece.pictures.picture(0).shape) == (6, 9, 3)
    assert [piece.pictures.name(i) for i in range(3)] == ["a.png", "b.jpg", "c.png"]


def test_the_caption_may_stand_before_its_picture(tmp_path: Path) -> None:
    assert only(write_shard(tmp_path / "s.tar", {"a.txt": b"first", "a.png": png(1)})).prompts == ("first",)


def test_samples_in_folders_are_told_apart(tmp_path: Path) -> None:
    members = {"x/1.png": png(1), "x/1.txt": b"in x", "y/1.png": png(2), "y/1.txt": b"in y"}
    assert only(write_shard(tmp_path / "s.tar", members)).prompts == ("in x", "in y")


def test_prompts_from_none_and_metadata_leave_the_text_alone(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "s.tar", {"a.png": png(1), "a.txt": b"beside"})
    assert only(path, prompts_from="none").prompts == ("",)
    assert only(path, prompts_from="metadata").prompts == ("",)


@pytest.mark.parametrize("data", [b"{", b"[1]", b'{"caption": 3}', b'{"a": 1, "a": 2}', b"\xff", b"[" * 100_000])
def test_a_caption_that_cannot_be_read_is_none(tmp_path: Path, data: bytes) -> None:
    piece = only(write_shard(tmp_path / "s.tar", {"a.png": png(1), "a.json": data}), default_prompt="d")
    assert piece.prompts == ("d",)


def test_memory_is_bounded_by_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_shard(tmp_path / "s.tar", {f"{i}.png": png(i) for i in range(7)})
    monkeypatch.setattr(shards, "PIECE_PICTURES", 3)
    assert [len(piece.pictures) for piece in read_shard(path)] == [3, 3, 1]
    monkeypatch.setattr(shards, "PIECE_BYTES", 1)
    assert [len(piece.pictures) for piece in read_shard(path)] == [1] * 7


def test_only_some_members(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "s.tar", {f"{i}.png": png(i) for i in range(4)})
    assert [only(path, only={"2.png"}).pictures.name(0)] == ["2.png"]


def test_links_and_devices_are_passed_over_and_broken_pictures_named(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as shard:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            shard.addfile(member)
        for name, data in (("bad.png", b"no picture"), ("good.png", png(1))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    piece = only(path)
    assert [piece.pictures.name(i) for i in range(len(piece.pictures))] == ["good.png"]
    assert [name for name, _ in piece.broken] == ["bad.png"]


def test_a_shard_that_is_cut_off_gives_what_stood_before_and_says_so(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "s.tar", {f"{i}.png": png(i, (64, 64)) for i in range(3)})
    path.write_bytes(path.read_bytes()[: 512 * 30 + 700])
    pieces = list(read_shard(path))
    assert sum(len(piece.pictures) for piece in pieces) >= 1
    assert [name for piece in pieces for name, _ in piece.broken] == ["s.tar"]


def test_what_is_no_tar_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    path.write_bytes(b"x" * 2000)
    assert only(path).broken[0][0] == "s.tar"
    with pytest.raises(InputError, match=r"gone\.tar"):
        list(read_shard(tmp_path / "gone.tar"))

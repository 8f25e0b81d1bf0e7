"""Weight files: knowing what a file is, strictness, atomic writing."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tastemaker.loaders import ModelFileError
from tastemaker.loaders.files import write_atomic
from tastemaker.loaders.weights import fill, find_weights, read_component, read_json, read_safetensors


def good(path: Path) -> bytes:
    save_file({"weight": torch.arange(6.0).view(2, 3)}, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"ab", "not a safetensors file"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x80\x02}q\x00.", "a pickle"),
        (b"PK\x03\x04rest of a zip", "a pickle"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (struct.pack("<Q", 2**40) + b'{"a":1}', "truncated"),
        (struct.pack("<Q", 2**63) + b'{"a":1}', "truncated"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=said):
        read_safetensors(path)


def test_a_file_cut_at_half_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    whole = good(path)
    path.write_bytes(whole[: len(whole) - 10])
    with pytest.raises(ModelFileError, match="damaged"):
        read_safetensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no file gone\.safetensors"):
        read_safetensors(tmp_path / "gone.safetensors")


def test_tensors_outlive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    good(path)
    state = read_safetensors(path)
    os.truncate(path, 4)
    assert torch.equal(state["weight"], torch.arange(6.0).view(2, 3))


def test_variants_are_read_from_the_names(tmp_path: Path) -> None:
    half = tmp_path / "model.fp16.safetensors"
    good(half)
    assert find_weights(tmp_path, "model", prefer_half=False) == [half]
    plain = tmp_path / "model.safetensors"
    good(plain)
    assert find_weights(tmp_path, "model", prefer_half=False) == [plain]
    assert find_weights(tmp_path, "model", prefer_half=True) == [half]


def test_sharded_files_are_joined(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(1)}, tmp_path / "model-00002-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert set(read_component(tmp_path, "model", prefer_half=False)) == {"a", "b"}


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "model.bin"])
def test_an_index_cannot_name_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ModelFileError, match="outside its folder"):
        find_weights(tmp_path, "model", prefer_half=False)


def test_only_bin_files_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelFileError, match=r"pytorch_model\.bin.*safetensors"):
        find_weights(tmp_path, "model", prefer_half=False)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"weight": torch.zeros(2, 3)}, "missing bias"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)}, "unexpected extra"),
        ({"weight": torch.zeros(3, 3), "bias": torch.zeros(2)}, r"weight has shape \(3, 3\)"),
        ({"weight": torch.zeros(2, 3), "bias": torch.tensor([1.0, float("nan")])}, "NaN or infinity in bias"),
    ],
)
def test_filling_is_strict(state: dict, said: str) -> None:
    with torch.device("meta"):
        module = torch.nn.Linear(3, 2)
    with pytest.raises(ModelFileError, match=said):
        fill(module, state, where="it")


def test_filling_fills() -> None:
    with torch.device("meta"):
        module = torch.nn.Linear(3, 2)
    fill(module, {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, where="it")
    assert torch.equal(module(torch.ones(1, 3)), torch.full((1, 2), 4.0))


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000])
def test_a_broken_config_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"config\.json"):
        read_json(tmp_path / "config.json")


def test_writing_replaces_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]

"""Single files made to harm; `test_hostile.py` has the folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tastemaker.loaders import ModelFileError, load_diffusion_model
from tests.loaders import original_files
from tests.loaders.original_files import State
from tests.loaders.test_hostile import HEADERS, crafted


@pytest.fixture(scope="module")
def single() -> State:
    """A small SDXL in the original layout."""
    return original_files.original_state(original_files.modules())


@pytest.mark.parametrize(("header", "said"), [h[1:] for h in HEADERS], ids=[h[0] for h in HEADERS])
def test_a_single_file_with_a_hostile_header_is_refused(canary: Path, tmp_path: Path, header: Any, said: str) -> None:
    path = crafted(tmp_path / "model.safetensors", header, body=b"\0" * 20)
    with pytest.raises(ModelFileError, match=f"{said}|not a known model"):
        load_diffusion_model(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>", b"\x80\x02cevil\nModel\n)R."])
def test_a_single_file_that_is_something_else_is_named(canary: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="is an empty file|is a pickle|is a web page"):
        load_diffusion_model(path)


TENSORS: list[tuple[str, str, tuple[int, ...], str]] = [
    (
        "no width",
        "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
        (49408, 0),
        "shape",
    ),
    ("10**9 positions", "conditioner.embedders.1.model.positional_embedding", (10**9, 0), "shape|sizes"),
    ("an endless vocabulary", "conditioner.embedders.1.model.token_embedding.weight", (2**40, 0), "shape|sizes"),
    (
        "endless channels",
        "model.diffusion_model.input_blocks.1.0.out_layers.3.weight",
        (2**40, 0, 3, 3),
        "shape|sizes|UNet",
    ),
    ("no sides", "model.diffusion_model.label_emb.0.0.weight", (), "shape"),
    ("no latents", "first_stage_model.decoder.conv_in.weight", (0, 0, 3, 3), "shape"),
    ("a layer of an encoder", "conditioner.embedders.1.model.transformer.resblocks.9.x", (4,), "unknown conditioner"),
    ("a layer far away", "first_stage_model.encoder.down.1000000000.block.0.conv1.weight", (4,), "unknown first_stage"),
]


@pytest.mark.parametrize(("name", "shape", "said"), [t[1:] for t in TENSORS], ids=[t[0] for t in TENSORS])
def test_a_single_file_of_impossible_sizes_is_refused(
    single: State, tmp_path: Path, name: str, shape: tuple[int, ...], said: str
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(single | {name: torch.empty(shape, dtype=torch.float16)}, path)
    with pytest.raises(ModelFileError, match=said):
        load_diffusion_model(path)


def test_a_single_file_of_too_many_layers_is_refused(single: State, tmp_path: Path) -> None:
    prefix = "conditioner.embedders.0.transformer.text_model.encoder.layers"
    more = {f"{prefix}.{i}.layer_norm1.weight": torch.zeros(1) for i in range(2, 1000)}
    save_file(single | more, tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match="num_hidden_layers is 1000"):
        load_diffusion_model(tmp_path / "model.safetensors")


def test_a_single_file_of_too_many_tensors_is_refused(tmp_path: Path) -> None:
    save_file({str(i): torch.zeros(1) for i in range(30_000)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match="30000 tensors"):
        load_diffusion_model(tmp_path / "model.safetensors")

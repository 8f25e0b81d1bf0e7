"""The made-up full-size files: names and shapes as published, weights that are the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tastemaker.loaders import read_lora
from tastemaker.loaders.formats.header import read_header
from tastemaker.rewards.models.aesthetic import load_head
from tests.loaders.test_weights import CHURCH
from tests.official.full_size import full_size_configs, value, write_safetensors, writers


def written(name: str, models: Path) -> Path:
    official, write = writers()[name]
    return write(official, models)


def test_whatever_the_manifest_accepts_can_be_written() -> None:
    known = writers()
    assert {"sd_xl_base_1.0.safetensors", "ddpm-church-256", "HPS_v2.1_compressed.pt", "LoKr"} <= known.keys()
    assert "FLUX" not in known
    church, _ = known["ddpm-church-256"]
    assert full_size_configs(church)["config.json"]["block_out_channels"] == CHURCH["block_out_channels"]


@pytest.mark.parametrize(
    ("name", "shape", "mean", "std"),
    [
        ("unet.conv.weight", (64, 32, 3, 3), 0.0, (32 * 9) ** -0.5),
        ("norm.weight", (4096,), 1.0, 1 / 16),
        ("norm.bias", (4096,), 0.0, 1 / 16),
    ],
)
def test_weights_keep_signals_in_range_and_are_exact_in_half(
    name: str, shape: tuple[int, ...], mean: float, std: float
) -> None:
    made = value(name, shape)
    assert made.shape == shape
    assert torch.equal(made, value(name, shape))
    assert not torch.equal(made, value(f"other.{name}", shape))
    assert torch.equal(made.half().float(), made)
    assert float(made.mean()) == pytest.approx(mean, abs=0.01)
    assert float(made.std()) == pytest.approx(std, rel=0.05)


def test_a_file_is_what_safetensors_reads(tmp_path: Path) -> None:
    shapes = {"a.weight": (3, 4), "logit_scale": (), "embeddings.position_ids": (1, 7), "b.bias": (5,)}
    write_safetensors(tmp_path / "x.safetensors", shapes, torch.float16, {"title": "made up"})
    read = load_file(tmp_path / "x.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in read.items()} == shapes
    assert read["embeddings.position_ids"].tolist() == [list(range(7))]
    assert all(torch.equal(tensor, value(name, shapes[name], torch.float16)) for name, tensor in read.items())
    assert read_header(tmp_path / "x.safetensors").shapes == shapes


def test_the_products_doors_read_them(tmp_path: Path) -> None:
    head = load_head(written("sac+logos+ava1-l14-linearMSE.pth", tmp_path), 768)
    assert torch.equal(head[0].weight, value("layers.0.weight", (1024, 768)))
    assert "dora" in read_lora(written("DoRA", tmp_path)).summary().lower()

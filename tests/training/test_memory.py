"""Memory known beforehand, against what a real forward pass keeps."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scripts.full_size.random_sdxl import modules
from tastemaker.core.errors import OutOfMemoryError
from tastemaker.loaders import DiffusionModel
from tastemaker.training import PRESETS, finetune, preset
from tastemaker.training.learner import memory
from tastemaker.training.learner.adapter import target_paths
from tastemaker.training.learner.memory import activation_bytes, kept_bytes, storage_key
from tastemaker.training.worker import Worker

from .conftest import PROMPTS, brightness, quick


def really_kept(model: DiffusionModel, config: Any) -> int:
    """Bytes of distinct tensors that autograd keeps of one real, unguided row, weights left out."""
    worker = Worker(model, config)
    trained = list(worker.learner.named_parameters().values())
    seen = {t.untyped_storage().data_ptr() for t in (*model.unet.parameters(), *model.unet.buffers(), *trained)}
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in seen:
            seen.add(tensor.untyped_storage().data_ptr())
            kept.append(tensor)
        return tensor

    x = torch.randn(1, model.channels, *(n // model.downscale for n in worker.size))
    with worker.learner.active(learning=True), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        worker.network(model, [PROMPTS[0] if model.conditional else ""]).predict(x, torch.tensor([500]))
    return sum(t.untyped_storage().nbytes() for t in kept)


@pytest.mark.parametrize("name", ["small_sdxl", "small_ddpm", "tiny_sdxl"])
def test_the_twin_keeps_what_the_network_keeps(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    config = quick(guidance_scale=1.0)
    expected = really_kept(model, config)
    found = activation_bytes(model, config, model.native_size)
    assert found.kept == pytest.approx(expected, rel=0.1)
    assert found.checkpointed < found.kept


def test_storages_have_names_without_torchs_private_one() -> None:
    x = torch.empty(4, device="meta")
    assert storage_key(x) == storage_key(x[1:]) != storage_key(torch.empty(4, device="meta"))
    nameless = [SimpleNamespace(untyped_storage=object) for _ in range(2)]
    assert storage_key(nameless[0]) == storage_key(nameless[0]) != storage_key(nameless[1])


@pytest.fixture(scope="module")
def full_size(tiny_sdxl: DiffusionModel) -> DiffusionModel:
    """SDXL in half precision on the meta device."""
    parts = modules()
    torch.nn.Module.to(parts["unet"], torch.float16)
    encoder = SimpleNamespace(config=parts["text_encoder_2"].config)
    return replace(tiny_sdxl, modules={"unet": parts["unet"], "vae": parts["vae"], "text_encoder_2": encoder})


def test_sdxl_at_full_size(full_size: DiffusionModel) -> None:
    """A row at 512 px with a LoRA on attention keeps about 1.4 GB, and a tenth of it with checkpointing."""
    found = activation_bytes(full_size, quick(rank=8, targets="attention"), (512, 512))
    assert found.kept == pytest.approx(1.4e9, rel=0.1)
    assert found.checkpointed == pytest.approx(0.13e9, rel=0.2)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("GB")])
def test_a_preset_fits_the_memory_it_is_named_after(name: str, full_size: DiffusionModel) -> None:
    """UNet, LoRA, its gradient and optimizer, and both rows of guidance; a tenth is left for everything else."""
    config = preset(name)
    found = activation_bytes(full_size, config, (config.height or 1024, config.width or 1024))
    each = found.checkpointed if config.gradient_checkpointing == "on" else found.kept
    shapes = [full_size.unet.get_submodule(p).weight.shape for p in target_paths(full_size.unet, config.targets)]
    trained = sum(config.rank * (s[0] + s[1:].numel()) for s in shapes)
    unet = sum(p.numel() * 2 for p in full_size.unet.parameters())
    needed = unet + 16 * trained + 1.15 * 2 * config.train_batch_size * each
    assert needed < 0.9 * float(name.split()[0]) * 2**30


def test_too_little_memory_is_an_error_before_it_starts(
    small_sdxl: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**20)
    with pytest.raises(OutOfMemoryError, match=r"0\.0 GB are free: lower train_batch_size \(4\), or set gradient_che"):
        finetune(small_sdxl, brightness, PROMPTS, quick())


def test_the_host_hears_how_much(small_ddpm: DiffusionModel) -> None:
    working: list[int] = []

    def place(modules: Any, working_bytes: int = 0) -> Any:
        working.append(working_bytes)
        return nullcontext()

    list(finetune(small_ddpm, brightness, "", quick(epochs=1), place=place))
    each = activation_bytes(small_ddpm, quick(), (8, 8)).kept
    assert max(working) > 4 * each


def test_a_host_is_asked_to_free_memory_before_it_is_counted(
    small_sdxl: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next to nothing is free until other models are sent away for what learning takes."""
    free = 2**20

    @contextmanager
    def place(modules: Any, working_bytes: int = 0):
        nonlocal free
        free += working_bytes
        yield

    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    finetune(small_sdxl, brightness, PROMPTS, quick(), place=place)
    assert free > 2**21


def test_what_an_epoch_keeps_by_hand() -> None:
    """8 pictures of 4 px, 5 places on the way of 48 numbers, twice 48 for the rewards, 4 bytes each."""
    assert kept_bytes(quick(steps=4), 48, (4, 4), 1) == 8 * (5 * 48 + 2 * 48) * 4
    assert kept_bytes(quick(steps=4), 48, (4, 4), 4) == 2 * (5 * 48 + 2 * 48) * 4
    compared = quick(steps=4, evaluate_every=1, evaluate_samples=16)
    assert kept_bytes(compared, 48, (4, 4), 1) == (16 * (5 * 48 + 2 * 48) + 2 * 16 * 48) * 4  # the base's, two ways


def test_more_pictures_than_memory_are_refused_by_name(
    small_ddpm: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**30)
    with pytest.raises(
        OutOfMemoryError, match=r"samples_per_epoch: .* 1\.0 GB are free: lower samples_per_epoch \(65,5"
    ):
        finetune(small_ddpm, brightness, "", quick(samples_per_epoch=65_536, steps=1000))

"""The LoRA in training: it changes what it should, and leaves the shared network as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tastemaker.loaders import DiffusionModel, InputError, with_lora
from tastemaker.loaders.lora.apply import applied_loras
from tastemaker.loaders.lora.read import make_lora, read_lora
from tastemaker.loaders.lora.state import lora_state
from tastemaker.sampling import sample
from tastemaker.training.learner.adapter import LoraAdapter, gradient_checkpointing, target_paths, trainable_through
from tastemaker.training.learner.averages import WeightAverage, averaging_rate


def make(unet: torch.nn.Module, targets: str = "all", rank: int = 3, alpha: float = 6.0) -> LoraAdapter:
    """An adapter that already changes something."""
    adapter = LoraAdapter(unet, rank=rank, alpha=alpha, targets=targets, generator=torch.Generator().manual_seed(1))
    draw = torch.Generator().manual_seed(2)
    for up in adapter.up.values():
        up.data = torch.randn(up.shape, generator=draw) * 0.05
    return adapter


def run(unet: torch.nn.Module) -> torch.Tensor:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    return unet(x, torch.tensor([900, 100])).sample


def hooks(unet: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + ("forward" in m.__dict__) for m in unet.modules())


def test_a_new_adapter_changes_nothing(small_ddpm: DiffusionModel) -> None:
    unet = small_ddpm.unet
    fresh = LoraAdapter(unet, rank=2, alpha=2.0, targets="all", generator=torch.Generator())
    with fresh.attached(unet):
        assert torch.equal(run(unet), run(unet))
        changed = run(unet)
    assert torch.equal(changed, run(unet))


def test_attached_is_merged_and_detached_is_as_before(small_ddpm: DiffusionModel) -> None:
    """The hooks compute what W + alpha / rank up down computes, on linear layers and convolutions, strides included."""
    unet = small_ddpm.unet
    before, parameters = run(unet), [id(p) for p in unet.parameters()]
    adapter = make(unet)
    with adapter.attached(unet):
        attached = run(unet)
        with adapter.switched_off():
            assert torch.equal(run(unet), before)
    assert hooks(unet) == 0
    assert torch.equal(run(unet), before)
    assert [id(p) for p in unet.parameters()] == parameters
    layers = {(c, p.replace(".", "_")): layer for (c, p), layer in adapter.layers().items()}
    with applied_loras(with_lora(small_ddpm, make_lora("x", layers)), ("unet",)):
        torch.testing.assert_close(attached, run(unet), atol=1e-5, rtol=1e-5)
    assert (attached - before).abs().max() > 0.01


def test_hooks_are_gone_after_an_error(small_ddpm: DiffusionModel) -> None:
    with (
        pytest.raises(RuntimeError, match="stop"),
        make(small_ddpm.unet).attached(small_ddpm.unet),
        gradient_checkpointing(small_ddpm.unet, "on"),
    ):
        raise RuntimeError("stop")
    assert hooks(small_ddpm.unet) == 0


def test_targets_are_what_they_say(tiny_sdxl: DiffusionModel, small_ddpm: DiffusionModel) -> None:
    attention, transformer, everything = (
        target_paths(tiny_sdxl.unet, targets) for targets in ("attention", "transformer", "all")
    )
    assert set(attention) < set(transformer) < set(everything)
    # each transformer block: 8 attention projections, 2 of the feed-forward; each transformer 2 more
    blocks = sum(type(m).__name__ == "BasicTransformerBlock" for m in tiny_sdxl.unet.modules())
    transformers = sum(type(m).__name__ == "Transformer2DModel" for m in tiny_sdxl.unet.modules())
    assert (len(attention), len(transformer)) == (8 * blocks, 10 * blocks + 2 * transformers)
    layers = [m for m in tiny_sdxl.unet.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    assert len(everything) == len(layers)
    with pytest.raises(InputError, match="targets: This network has no such layers"):
        target_paths(torch.nn.Sequential(torch.nn.Linear(2, 2)), "attention")


def gradients(unet: torch.nn.Module, adapter: LoraAdapter) -> list[torch.Tensor]:
    for p in adapter.named_parameters().values():
        p.grad = None
    run(unet).square().mean().backward()
    return [p.grad for p in adapter.named_parameters().values()]


def test_recomputing_gives_the_same_gradients(small_ddpm: DiffusionModel) -> None:
    unet, adapter = small_ddpm.unet, make(small_ddpm.unet)
    with adapter.attached(unet):
        plain = gradients(unet, adapter)
        with gradient_checkpointing(unet, "on"):
            assert hooks(unet) > len(adapter.down)  # it is on
            again = gradients(unet, adapter)
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-5)
    assert all(p.grad is None for p in unet.parameters())


def test_networks_made_in_inference_mode_can_be_learned_through(small_ddpm: DiffusionModel) -> None:
    import copy

    with torch.inference_mode():
        unet = copy.deepcopy(small_ddpm.unet)
        assert next(unet.parameters()).is_inference()
    own = [id(p) for p in unet.parameters()]
    adapter = make(unet)
    with trainable_through(unet), adapter.attached(unet):
        found = gradients(unet, adapter)
    assert [id(p) for p in unet.parameters()] == own
    with adapter.attached(small_ddpm.unet):
        expected = gradients(small_ddpm.unet, adapter)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@contextmanager
def attached(model: DiffusionModel, adapter: LoraAdapter) -> Iterator[None]:
    with adapter.attached(model.unet):
        yield


@pytest.mark.parametrize("name", ["tiny_sdxl", "small_ddpm"])
def test_the_saved_lora_gives_the_pictures_of_training(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Within 1e-5, through a file in kohya's keys, with alpha apart from rank."""
    model = request.getfixturevalue(name)
    adapter = LoraAdapter(model.unet, rank=4, alpha=10.0, targets="all", generator=torch.Generator().manual_seed(7))
    for i, up in enumerate(adapter.up.values()):
        up.data = torch.randn(up.shape, generator=torch.Generator().manual_seed(i)) * 0.002
    prompt = "a red heart on a blue background" if model.conditional else ""
    settings = {"steps": 4, "eta": 1.0, "seeds": [1], "guidance_scale": 3.0 if model.conditional else 1.0}
    before = sample(model, prompt, **settings).images
    with attached(model, adapter):
        tuned = sample(model, prompt, **settings).images
    path = tmp_path / "lora.safetensors"
    save_file(lora_state(adapter.layers()), path)
    loaded = sample(with_lora(model, read_lora(path)), prompt, **settings).images
    assert (tuned - before).abs().max() > 1e-3
    assert (tuned - loaded).abs().max() <= 1e-5


def test_the_moving_average_by_hand() -> None:
    # rates: min(0.9, 2/11), min(0.9, 3/12): averages 0 -> 9/11 -> 1/4 * 9/11 + 3/4 * 2
    assert [averaging_rate(0.9, n) for n in (1, 2, 1000)] == pytest.approx([2 / 11, 0.25, 0.9])
    p = torch.nn.Parameter(torch.zeros(1))
    average = WeightAverage({"p": p}, 0.9)
    for updates, value in enumerate((1.0, 2.0), 1):
        p.data = torch.tensor([value])
        average.update({"p": p}, updates)
    assert average.averages["p"].item() == pytest.approx(9 / 44 + 1.5)
    with average.in_place_of({"p": p}):
        assert p.item() == pytest.approx(9 / 44 + 1.5)
    assert p.item() == 2.0

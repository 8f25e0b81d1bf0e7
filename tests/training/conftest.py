"""Models small enough to train in seconds: the real classes with few random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch

from tastemaker.loaders import DiffusionModel
from tastemaker.training import EpochProgress, FineTuneConfig, finetune
from tastemaker.training.processes import SingleProcess

DDPM = {
    "_class_name": "DDPMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "variance_type": "fixed_small",
    "clip_sample": True,
    "prediction_type": "epsilon",
}
PROMPTS = ("a red circle", "a blue star", "a green heart", "a white square")


def settled(unet: torch.nn.Module) -> torch.nn.Module:
    return unet.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def small_sdxl(tiny_sdxl: DiffusionModel) -> DiffusionModel:
    """tiny-sdxl's text encoders and VAE around a UNet of 8 and 16 channels; pictures of 32 px, D = 256."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    known = tiny_sdxl.unet.config
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=known.cross_attention_dim,
        attention_head_dim=(2, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=known.addition_time_embed_dim,
        projection_class_embeddings_input_dim=known.projection_class_embeddings_input_dim,
    )
    return replace(
        tiny_sdxl, name="small-sdxl", modules={**tiny_sdxl.modules, "unet": settled(unet)}, fingerprint="5" * 16
    )


@pytest.fixture(scope="session")
def small_ddpm() -> DiffusionModel:
    return make_small_ddpm()


def make_small_ddpm() -> DiffusionModel:
    """An unconditional model with church-256's scheduler; pictures of 8 px, D = 192."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
    )
    return DiffusionModel("small-ddpm", "ddpm", {"unet": settled(unet)}, (), DDPM, "d" * 16)


def brightness(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
    """A reward that learning can move: the mean of a picture."""
    return images.mean(dim=(1, 2, 3))


def redness(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
    return 100 * images[..., 0].mean(dim=(1, 2))


def quick(**changes: Any) -> FineTuneConfig:
    """A run of two small epochs."""
    return FineTuneConfig(
        **{
            "epochs": 2,
            "samples_per_epoch": 8,
            "group_size": 4,
            "steps": 4,
            "rank": 2,
            "learning_rate": 1e-2,
            "targets": "all",
            "sample_every": 0,
            "updates_per_epoch": 2,
            "train_batch_size": 4,
            "evaluate_steps": 2,
            **changes,
        }
    )


class Said(NamedTuple):
    """What a run said, where it counted or could be cancelled."""

    epoch: int
    phase: str
    done: int
    total: int
    seconds_left: float | None


class Recorder(EpochProgress):
    """Keeps what a run says, and passes each on to `then`, which may raise."""

    def __init__(self, then: Callable[[Said], None] = lambda said: None) -> None:
        self.said: list[Said] = []
        self._then = then
        self._epoch, self._left, self._phase, self._done, self._total = 0, None, "", 0, 0

    def epoch(self, number: int, epochs: int, seconds_left: float | None) -> None:
        self._epoch, self._left = number, seconds_left

    def phase(self, name: str, total: int) -> None:
        self._phase, self._done, self._total = name, 0, total

    def advance(self, count: int = 1) -> None:
        self._done += count
        self.check_cancelled()

    def check_cancelled(self) -> None:
        self.said.append(Said(self._epoch, self._phase, self._done, self._total, self._left))
        self._then(self.said[-1])


def weights(model: DiffusionModel) -> dict[str, torch.Tensor]:
    """Copies of all weights, to compare with later."""
    return {
        f"{name}.{key}": tensor.clone()
        for name, module in model.modules.items()
        for key, tensor in module.state_dict().items()
    }


def trained(model: DiffusionModel, reward: Any = brightness, **changes: Any) -> Any:
    """A quick run, iterated to its end."""
    run = finetune(model, reward, PROMPTS if model.conditional else "", quick(**changes))
    list(run)
    return run


def state(run: Any) -> dict[str, torch.Tensor]:
    return run.learner.state()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[k], other[k]) for k in one)


class Half(SingleProcess):
    """One of two processes that train together; its sums are left to whoever adds both."""

    world_size = 2

    def __init__(self, rank: int, scores: torch.Tensor) -> None:
        self.rank, self._scores = rank, scores

    def all_gather(self, rows: torch.Tensor) -> torch.Tensor:
        assert torch.allclose(rows, self._scores[self.my_slice(len(self._scores))], atol=1e-6)
        return self._scores

"""Sampling on a pretended GPU: no mixture of devices, nothing that waits inside the loop, few waits outside it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from tastemaker.loaders.lora.apply import with_lora
from tastemaker.loaders.lora.read import make_lora
from tastemaker.sampling import SampleOptions, sample
from tastemaker.sampling.decode import decode
from tastemaker.sampling.schedulers import SCHEDULERS
from tastemaker.training.learner.adapter import LoraAdapter
from tests.devices.pretended import PretendedGPU

HALF_GREY = torch.full((1, 32, 32, 3), 0.5)
WAITS = 5  # a call: the latents' check and copy, the pictures' two checks and their copy
COPIES = 6  # a call: prompts, size conditioning, timesteps, latents to decode
# copies that diffusers' own step makes for each of ours: numbers that it keeps on the CPU
STEP_COPIES = {"unipc": 6, "lcm": 1}


def counted(gpu: PretendedGPU, work: Any, steps: int) -> tuple[Counter[str], Counter[str]]:
    gpu.reset()
    work(steps)
    return gpu.waits, gpu.copies


def check_loop(gpu: PretendedGPU, work: Any, *, waits: int = WAITS, copies: int = COPIES, step: int = 0) -> None:
    """Hold a way of sampling to its budget: the difference between 3 and 5 steps is what is inside the loop."""
    work(2)  # prompts are encoded once
    few, few_copies = counted(gpu, work, 3)
    more, more_copies = counted(gpu, work, 5)
    assert not more - few, "waits inside the loop"
    assert (more_copies - few_copies).total() <= 2 * step, "copies inside the loop"
    assert few.total() <= waits
    assert few_copies.total() <= copies + 3 * step


def test_no_scheduler_waits_inside_its_loop(gpu: PretendedGPU, there: Any) -> None:
    model = there()
    for name in SCHEDULERS:

        def work(steps: int, name: str = name) -> None:
            sample(model, "a red circle", scheduler=name, steps=steps, seeds=[1, 2])

        check_loop(gpu, work, step=STEP_COPIES.get(name, 0))


@pytest.mark.parametrize(
    ("told", "waits", "copies"),
    [
        ({"eta": 1.0}, WAITS, COPIES),
        ({"guidance_scale": 1.0}, WAITS, COPIES),
        ({"options": SampleOptions(guidance_rescale=0.7)}, WAITS, COPIES),
        ({"images": HALF_GREY, "denoise": 0.9}, WAITS + 2, COPIES + 2),
        (
            {
                "images": HALF_GREY,
                "denoise": 0.9,
                "mask": torch.ones(32, 32),
                "scheduler": "euler",
            },
            WAITS + 2,
            COPIES + 4,
        ),
    ],
    ids=["fresh noise", "unguided", "rescaled", "from an image", "inpainting"],
)
def test_no_setting_makes_the_loop_wait(
    gpu: PretendedGPU, there: Any, told: dict[str, Any], waits: int, copies: int
) -> None:
    model = there()
    check_loop(gpu, lambda n: sample(model, "a star", steps=n, seeds=[1, 2], **told), waits=waits, copies=copies)


def test_a_refiner_takes_over_without_waits_in_the_loop(gpu: PretendedGPU, there: Any) -> None:
    model = there()
    work = lambda n: sample(model, "a star", steps=2 * n, seeds=[1], refiner=model)  # noqa: E731
    check_loop(gpu, work, waits=WAITS + 2, copies=2 * COPIES)


def test_prompts_of_two_lengths_and_pixels_stay_on_the_device(gpu: PretendedGPU, there: Any) -> None:
    model, plain = there(), there("tiny-ddpm")
    texts = ["a (red:1.3) circle", "a star, " * 40]
    check_loop(gpu, lambda n: sample(model, texts, steps=n, seeds=[1, 2]), copies=COPIES + 3)
    check_loop(gpu, lambda n: sample(plain, steps=n, seeds=[1, 2]))


def test_loras_are_checked_with_one_wait_for_all_layers(gpu: PretendedGPU, there: Any) -> None:
    model = there()
    adapter = LoraAdapter(model.unet, rank=2, alpha=2.0, targets="all", generator=None)
    layers = {(c, path.replace(".", "_")): layer for (c, path), layer in adapter.layers().items()}
    assert len(layers) > 100
    tuned = with_lora(model, make_lora("random", layers), 0.5)
    check_loop(gpu, lambda n: sample(tuned, "a star", steps=n, seeds=[1]), waits=WAITS + 1, copies=COPIES)


def test_decoding_waits_three_times_however_many_pictures(gpu: PretendedGPU, there: Any) -> None:
    model = there()
    for count in (1, 4):
        gpu.reset()
        assert decode(model, torch.zeros(count, 4, 8, 8)).shape == (count, 32, 32, 3)
        assert gpu.waits.total() == 3


def test_a_network_is_recorded_once_a_run_and_replayed(gpu: PretendedGPU, there: Any, recorded: list[int]) -> None:
    model = there()
    sample(model, "a star", steps=6, seeds=[1, 2])
    assert recorded == [5]  # all steps but the first
    recorded.clear()
    sample(model, "a star", steps=6, seeds=[1, 2, 3], options=SampleOptions(at_once=2))
    assert recorded == [5, 5]  # each part of the batch has its own


def test_a_mixture_of_devices_is_an_error_here_as_there(gpu: PretendedGPU) -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.ones(2, device="cuda:0") + torch.ones(2)


def test_what_the_host_would_wait_for_is_counted(gpu: PretendedGPU) -> None:
    tensor = torch.ones(3).to("cuda:0")
    assert gpu.copies.total() == 1
    float(tensor.sum())
    tensor.cpu()
    assert bool((tensor > 0).all())
    assert gpu.waits.total() == 3
    torch.ones(3).to("cuda:0", non_blocking=True)
    assert gpu.copies.total() == 1

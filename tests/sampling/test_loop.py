"""`denoise`: short enough to read, and its hook, with a network whose answers are known."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import torch

from tastemaker.sampling import SampleOptions, SampleSettings, denoise, sample
from tastemaker.sampling.loop import Stage, stages_of
from tastemaker.sampling.schedules import make_schedule
from tastemaker.sampling.steps import ImageNoise
from tests.recorded import Recorded
from tests.sampling.test_schedules import SDXL

PROMPT = "a large red heart on a blue background"


def test_the_loop_can_be_read_at_a_glance() -> None:
    docstring = inspect.getdoc(denoise)
    assert docstring
    written = [line for line in inspect.getsource(denoise).splitlines() if line.strip()]
    said = [line for line in docstring.splitlines() if line.strip()]
    assert len(written) - len(said) <= 20


def network(x: torch.Tensor, t: torch.Tensor, done: float) -> torch.Tensor:
    return torch.sin(1.5 * x + t / 300)


def start(seeds: list[int]) -> tuple[torch.Tensor, ImageNoise]:
    noise = ImageNoise(seeds, (2, 4, 4))
    return noise.draw(torch.device("cpu")), noise


def test_the_hook_sees_every_step_and_changes_nothing_by_itself() -> None:
    seen = []

    def look(index: int, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        seen.append((index, x.shape, x0.shape))
        return x

    schedule = make_schedule(SDXL, "ddim", 5, eta=1.0)
    want = denoise(network, schedule, *start([1, 2]))
    assert torch.equal(denoise(network, schedule, *start([1, 2]), look), want)
    assert seen == [(index, (2, 2, 4, 4), (2, 2, 4, 4)) for index in range(5)]


def test_the_share_of_the_run_and_the_timesteps_are_the_schedules() -> None:
    asked = []

    def asking(x: torch.Tensor, t: torch.Tensor, done: float) -> torch.Tensor:
        asked.append((t.item(), done))
        return network(x, t, done)

    schedule = make_schedule(SDXL, "euler", 4)
    denoise(asking, schedule, *start([1]))
    assert asked == [(t, i / 4) for i, t in enumerate(schedule.timesteps)]


def test_particles_are_drawn_anew_by_the_hook() -> None:
    """Row 1 becomes a copy of row 0 after the second step: from there both are one picture where no noise is drawn."""

    def resample(index: int, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        return x[[0, 0]] if index == 1 else x

    schedule = make_schedule(SDXL, "ddim", 5)
    made = denoise(network, schedule, *start([1, 2]), resample)
    alone = denoise(network, schedule, *start([1]))
    assert torch.equal(made[0], alone[0])
    assert torch.equal(made[0], made[1])


def test_rows_are_dropped_by_the_hook_where_the_noise_follows() -> None:
    schedule = make_schedule(SDXL, "ddim", 6, eta=1.0)
    x, noise = start([1, 2, 3])

    def prune(index: int, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        if index != 2:
            return x
        noise.generators = [noise.generators[i] for i in (0, 2)]
        return x[[0, 2]]

    made = denoise(network, schedule, x, noise, prune)
    assert torch.equal(made, denoise(network, schedule, *start([1, 3])))


def test_what_the_hook_raises_stops_the_loop() -> None:
    def stop(index: int, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise(network, make_schedule(SDXL, "ddim", 5), *start([1]), stop)


def test_gradients_flow_through_the_loop() -> None:
    scale = torch.ones((), requires_grad=True)
    made = denoise(lambda x, t, done: scale * x, make_schedule(SDXL, "ddim", 3), *start([1]))
    made.sum().backward()
    assert torch.isfinite(scale.grad)
    assert scale.grad != 0


# settings, whole and by field


def test_settings_are_passed_whole_and_fields_are_put_over_them(tiny_sdxl) -> None:
    settings = SampleSettings("euler", 3, 2.0)
    whole = sample(tiny_sdxl, PROMPT, settings, seeds=[1])
    fields = sample(tiny_sdxl, PROMPT, scheduler="euler", steps=3, guidance_scale=2.0, seeds=[1])
    assert torch.equal(whole.latents, fields.latents)
    over = sample(tiny_sdxl, PROMPT, settings, seeds=[1], steps=2)
    assert torch.equal(over.latents, sample(tiny_sdxl, PROMPT, replace(settings, steps=2), seeds=[1]).latents)
    assert not torch.equal(over.latents, whole.latents)
    with pytest.raises(TypeError, match="step_count"):
        sample(tiny_sdxl, PROMPT, step_count=3)


def test_a_refiner_is_a_second_stage(tiny_sdxl) -> None:
    (alone,) = stages_of(tiny_sdxl, None, SampleOptions())
    assert (alone.takes_over, alone.last) == (False, True)
    base, refiner = stages_of(tiny_sdxl, tiny_sdxl, SampleOptions(refiner_start=0.7))
    assert (base.takes_over, base.last, refiner.takes_over, refiner.last) == (False, False, True, True)
    assert base.stop == refiner.start == 0.7
    assert isinstance(base, Stage)


def test_a_preview_is_offered_after_each_step_and_made_only_when_asked(tiny_sdxl) -> None:
    makers = []

    class Previewed(Recorded):
        def preview(self, make) -> None:
            makers.append(make)

    progress = Previewed()
    sample(tiny_sdxl, PROMPT, steps=3, seeds=[1, 2, 3], progress=progress)
    assert len(makers) == 3
    assert progress.phases == ["sampling"]
    picture = makers[-1]()
    assert picture.size == (512, 512)  # 2 x 2 pictures of 64 px, times 4; the fourth is black
    assert max(picture.getpixel((500, 500))) == 0
    assert max(picture.getpixel((100, 100))) > 0

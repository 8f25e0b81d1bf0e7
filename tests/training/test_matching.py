"""The matching algorithm in a run: any scheduler, what learns and what does not, resuming, cancelling, processes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tastemaker.core.errors import ModelFileError, NonFiniteError, TastemakerError
from tastemaker.core.progress import Progress
from tastemaker.loaders import DiffusionModel, InputError
from tastemaker.loaders.lora.apply import with_lora
from tastemaker.loaders.lora.read import make_lora
from tastemaker.sampling import sample
from tastemaker.sampling.schedulers import SCHEDULERS
from tastemaker.training import FineTune, FineTuneConfig, finetune
from tastemaker.training.algorithms.matching import Matching
from tastemaker.training.epoch import Epoch, plan_epoch
from tastemaker.training.forward_process import noise_levels
from tastemaker.training.learner.memory import kept_bytes
from tastemaker.training.processes import SingleProcess
from tastemaker.training.rollout import Request
from tastemaker.training.scoring import Scorer, check_terms
from tastemaker.training.worker import Worker

from .conftest import DDPM, PROMPTS, Half, Recorder, Said, brightness, quick, redness, same, state, trained, weights

MATCHING: dict[str, Any] = {"algorithm": "matching", "scheduler": "dpmpp_2m"}


def algorithm_of(model: DiffusionModel, processes: SingleProcess | None = None, **changes: Any) -> Matching:
    config, processes = quick(**{**MATCHING, **changes}), processes or SingleProcess()
    worker = Worker(model, config, processes=processes, schedule=Matching.schedule(model, config))
    return Matching(worker, Scorer(check_terms(brightness), config, processes))


def planned(algorithm: Matching, rows: slice | None = None) -> Epoch:
    config, model = algorithm.worker.config, algorithm.worker.model
    prompts = PROMPTS if model.conditional else [""]
    return plan_epoch(config, 0, prompts, model.conditional, rows or slice(0, config.samples_per_epoch))


# --- what it learns -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["nft", "awm", "regression"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_every_form_learns_whatever_the_network_predicts(
    form: str, prediction_type: str, small_ddpm: DiffusionModel
) -> None:
    model = replace(small_ddpm, scheduler_config={**DDPM, "prediction_type": prediction_type})
    run = trained(model, algorithm="matching", scheduler="ddim", matching_form=form, epochs=1)
    [report] = run.reports
    assert report.grad_norm > 0
    assert report.error > 0
    assert report.moved > 0  # the second of two updates is compared with where the epoch began
    assert (report.updates, report.pairs + report.dropped) == (2, 16)
    assert (report.dropped > 0) == (form == "regression")


def test_the_gradient_is_that_of_a_loss_written_out(small_ddpm: DiffusionModel) -> None:
    """One update over all pairs: sum of A |e - noise|^2 over pairs, each noised by hand with diffusers' own levels."""
    from diffusers import DDPMScheduler

    algorithm = algorithm_of(small_ddpm, updates_per_epoch=1, timesteps_per_picture=2, train="full", rank=1)
    worker, epoch = algorithm.worker, planned(algorithm)
    experience = algorithm.collect(epoch, Progress())
    gradients: dict[str, torch.Tensor] = {}
    worker.learner.step = lambda scale, all_reduce_sum: (
        gradients.update(  # type: ignore[method-assign]
            {k: p.grad.clone() for k, p in worker.learner.named_parameters().items()}
        )
        or 0.0
    )
    algorithm.learn(epoch, experience, Progress())

    from tastemaker.training.forward_process import draw_noise, draw_timesteps

    draws = draw_timesteps(8, 1000, worker.config, 0)
    [pairs] = draws.updates
    t = draws.timesteps[pairs.picture, pairs.step]
    noise = draw_noise(pairs, (3, 8, 8), worker.config, 0, torch.device("cpu"))
    reference = DDPMScheduler.from_config(DDPM)
    unet = copy.deepcopy(small_ddpm.unet).requires_grad_()
    output = unet(reference.add_noise(experience.latents[pairs.picture], noise, t), t).sample
    z = experience.scored.advantages / 1.5
    error = (output - noise).square().mean(dim=(1, 2, 3))
    (z.clamp(-1, 1)[pairs.picture] * error).mean().backward()
    for name, parameter in unet.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-3, atol=1e-6)
    assert max(g.abs().max() for g in gradients.values()) > 1e-3


def test_sdxl_learns_on_the_prompts_row_from_guided_pictures(small_sdxl: DiffusionModel) -> None:
    rows: list[int] = []
    handle = small_sdxl.unet.register_forward_pre_hook(lambda m, args: rows.append(len(args[0])))
    try:
        run = trained(small_sdxl, redness, **MATCHING, epochs=1, updates_per_epoch=1, steps=2)
    finally:
        handle.remove()
    assert rows == [16, 16, 4, 4, 4, 4]  # 8 pictures in two rows for two steps; then batches of 4 pairs
    assert run.reports[0].grad_norm > 0


@pytest.mark.parametrize("train", ["lora", "full"])
def test_the_model_is_not_changed_and_the_reference_is_the_base(train: str, small_ddpm: DiffusionModel) -> None:
    before = weights(small_ddpm)
    run = trained(small_ddpm, **MATCHING, train=train, learning_rate=1e-3, reference_weight=0.1)
    assert same(before, weights(small_ddpm))
    assert not any(m._forward_hooks for m in small_ddpm.unet.modules())
    assert [r.dropped for r in run.reports] == [0, 0]
    assert all(r.distance > 0 for r in run.reports)
    assert run.model.fingerprint != small_ddpm.fingerprint or train == "lora"


def test_a_heavy_reference_holds_the_model_back(small_ddpm: DiffusionModel) -> None:
    def distance(weight: float) -> float:
        run = trained(small_ddpm, **MATCHING, epochs=6, reference_weight=weight)
        return run.reports[-1].distance

    assert distance(10.0) < 0.5 * distance(1e-6)


def test_rehearsing_starts_from_no_difference_and_holds_the_model_back(small_ddpm: DiffusionModel) -> None:
    def forgotten(weight: float) -> list[float]:
        run = trained(small_ddpm, **MATCHING, epochs=6, updates_per_epoch=1, rehearsal_weight=weight)
        return [report.forgotten for report in run.reports]

    heavy, light = forgotten(10.0), forgotten(1e-6)
    assert heavy[0] == light[0] == 0  # before the first update it is the base
    assert 0 < heavy[-1] < 0.5 * light[-1]


def test_rehearsal_adds_the_gradient_of_its_distance_on_the_bases_own_pictures(small_ddpm: DiffusionModel) -> None:
    """With the policy moved off the base: two of eight pictures, those of rows 0 and 4, made by the base."""
    from tastemaker.training.forward_process import draw_noise, draw_timesteps, noised

    def gradient(weight: float) -> tuple[dict[str, torch.Tensor], Matching]:
        algorithm = off_its_base(algorithm_of(small_ddpm, updates_per_epoch=1, train="full", rehearsal_weight=weight))
        return first_gradient(algorithm, slice(0, 8)), algorithm

    with_it, algorithm = gradient(2.0)
    without, _ = gradient(0.0)
    config, levels = algorithm.worker.config, noise_levels(small_ddpm)
    epoch = planned(algorithm)
    own = algorithm.worker.sample_latents(Request(["", ""], [epoch.seeds[0], epoch.seeds[4]]), Progress(), base=True)
    draws = draw_timesteps(8, 1000, config, 0)
    [pairs] = draws.updates
    rows = (pairs.picture == 0) | (pairs.picture == 4)
    pairs = type(pairs)(pairs.picture[rows], pairs.step[rows])
    t = draws.timesteps[pairs.picture, pairs.step]
    noise = draw_noise(pairs, (3, 8, 8), config, 0, torch.device("cpu"))
    x_t, _ = noised(own[pairs.picture // 4], noise, levels.alphas[t], "epsilon")
    unet = copy.deepcopy(small_ddpm.unet).requires_grad_()
    with torch.no_grad():
        e_ref = unet(x_t, t).sample
        for parameter in unet.parameters():
            parameter.mul_(1.1)
    (2 * (unet(x_t, t).sample - e_ref).square().mean()).backward()
    for name, parameter in unet.named_parameters():
        torch.testing.assert_close(with_it[name] - without[name], parameter.grad, rtol=1e-3, atol=1e-5)
    assert max(p.grad.abs().max() for p in unet.parameters()) > 1e-3


def test_the_proximal_term_holds_an_epochs_later_updates_back(small_ddpm: DiffusionModel) -> None:
    def moved(weight: float) -> float:
        changes = {"matching_form": "awm", "updates_per_epoch": 4, "epochs": 1, "samples_per_epoch": 16}
        return trained(small_ddpm, **MATCHING, **changes, proximal_weight=weight).reports[0].moved

    assert moved(50.0) < moved(0.0)


def test_equal_scores_teach_nothing(small_ddpm: DiffusionModel) -> None:
    run = trained(small_ddpm, lambda images, prompts: torch.ones(len(images)), **MATCHING, epochs=1)
    [report] = run.reports
    assert (report.updates, report.pairs, report.dropped) == (0, 0, 16)
    assert "nothing to learn" in report.note


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", [*SCHEDULERS, "model default"])
def test_pictures_are_those_that_sample_makes(scheduler: str, small_ddpm: DiffusionModel) -> None:
    """By every scheduler, in parts of the batch too: those that keep a history have one for each part."""
    eta = {"eta": 0.0} if scheduler == "ddim" else {}
    algorithm = algorithm_of(small_ddpm, scheduler=scheduler, steps=5, rollout_batch_size=2, **eta)
    found = algorithm.sample(Request([""] * 3, [5, 6, 7]), Progress())
    settings = {"scheduler": scheduler, "steps": 5, "height": 8, "width": 8}
    theirs = sample(small_ddpm, "", seeds=[5, 6, 7], **settings).images
    torch.testing.assert_close(found, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_progress_counts_what_it_said_it_would(weight: float, small_ddpm: DiffusionModel) -> None:
    recorder = Recorder()
    config = quick(**MATCHING, epochs=1, rehearsal_weight=weight)
    list(finetune(small_ddpm, brightness, "", config, progress=recorder))
    last = {said.phase: (said.done, said.total) for said in recorder.said}
    assert last["sampling"] == (32, 32)
    assert last.get("rehearsing") == ((8, 8) if weight else None)  # two of eight pictures, in four steps
    assert last["learning"] == ((20, 20) if weight else (16, 16))


# --- it holds what every algorithm holds ---------------------------------------------------------


@pytest.mark.parametrize("train", ["lora", "full"])
def test_it_resumes_to_the_bit(train: str, small_ddpm: DiffusionModel, tmp_path: Path) -> None:
    held = {"reference_weight": 0.01, "rehearsal_weight": 0.1}
    config = quick(**MATCHING, epochs=4, train=train, ema_decay=0.9, **held)
    whole = finetune(small_ddpm, brightness, "", config)
    list(whole)
    with finetune(small_ddpm, brightness, "", config, run_folder=tmp_path / "run") as half:
        next(half), next(half)
    again = finetune(small_ddpm, brightness, "", config, run_folder=tmp_path / "run")
    assert [r.epoch for r in again] == [3, 4]
    assert same(state(again), state(whole))
    assert [r.figures for r in again.reports] == [r.figures for r in whole.reports]
    other = quick(**MATCHING, epochs=4, train=train, ema_decay=0.9, **held, timesteps_per_picture=3)
    with pytest.raises(InputError, match="another timesteps_per_picture"):
        finetune(small_ddpm, brightness, "", other, run_folder=tmp_path / "run")


class Cancelled(BaseException):
    pass


@pytest.mark.parametrize("phase", ["sampling", "learning"])
def test_a_cancel_takes_it_back_to_the_last_whole_epoch(phase: str, small_ddpm: DiffusionModel) -> None:
    def cancel(said: Said) -> None:
        if (said.epoch, said.phase) == (2, phase) and said.done >= 8:
            raise Cancelled

    run = finetune(small_ddpm, brightness, "", quick(**MATCHING, epochs=3), progress=Recorder(cancel))
    with pytest.raises(Cancelled):
        list(run)
    assert run.epoch == 1
    assert same(state(run), state(trained(small_ddpm, **MATCHING, epochs=1)))
    assert not any(m._forward_hooks for m in small_ddpm.unet.modules())


def off_its_base(algorithm: Matching) -> Matching:
    with torch.no_grad():
        for parameter in algorithm.worker.learner.named_parameters().values():
            parameter.mul_(1.1)
    return algorithm


def first_gradient(algorithm: Matching, rows: slice) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    learner, epoch = algorithm.worker.learner, planned(algorithm, rows)

    def step(scale: float, all_reduce_sum: Callable[..., None]) -> float:
        for name, p in learner.named_parameters().items():
            found[name] = torch.zeros_like(p) if p.grad is None else p.grad.clone()
        return 0.0

    learner.step = step  # type: ignore[method-assign]
    algorithm.learn(epoch, algorithm.collect(epoch, Progress()), Progress())
    return found


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_two_processes_are_one_with_the_same_pictures(weight: float, small_ddpm: DiffusionModel) -> None:
    """Gradients of the halves add up to the whole's, those of rehearsing too."""
    changes = {"updates_per_epoch": 1, "train": "full", "rehearsal_weight": weight}
    whole = off_its_base(algorithm_of(small_ddpm, **changes))
    pictures = whole.collect(planned(whole), Progress())
    scores = pictures.scored.columns["brightness"]
    expected = first_gradient(whole, slice(0, 8))
    halves = []
    for rank in (0, 1):
        half = off_its_base(algorithm_of(small_ddpm, Half(rank, scores), **changes))
        halves.append(first_gradient(half, slice(4 * rank, 4 * rank + 4)))
    for name, gradient in expected.items():
        torch.testing.assert_close(halves[0][name] + halves[1][name], gradient, rtol=1e-3, atol=1e-6)
    assert max(g.abs().max() for g in expected.values()) > 1e-3


def test_a_process_none_of_whose_pictures_is_rehearsed_learns_as_the_others(small_ddpm: DiffusionModel) -> None:
    """Of eight pictures the base makes the first and the fifth: a process with the second to the fourth makes none."""
    whole = algorithm_of(small_ddpm, rehearsal_weight=0.1)
    scores = whole.collect(planned(whole), Progress()).scored.columns["brightness"]
    one = algorithm_of(small_ddpm, Given(scores), rehearsal_weight=0.1)
    epoch = planned(one, slice(1, 4))
    experience = one.collect(epoch, Progress())
    assert experience.own is not None
    assert experience.own.shape == (0, 3, 8, 8)
    assert one.learn(epoch, experience, Progress())["forgotten"] == 0


class Given(SingleProcess):
    """A process that knows what all of them found."""

    def __init__(self, scores: torch.Tensor) -> None:
        self.scores = scores

    def all_gather(self, rows: torch.Tensor) -> torch.Tensor:
        return self.scores


def test_a_process_without_pairs_in_the_first_update_knows_that_others_moved(small_ddpm: DiffusionModel) -> None:
    """One timestep of two groups in two updates: one process learns in the first, the other in the second only."""
    changes = {"timesteps_per_picture": 1, "updates_per_epoch": 2}
    whole = algorithm_of(small_ddpm, **changes)
    scores = whole.collect(planned(whole), Progress()).scored.columns["brightness"]
    found = []
    for rank in (0, 1):
        half = algorithm_of(small_ddpm, Half(rank, scores), **changes)
        update = half.update

        def record(batches: Any, old: Any, *rest: Any, update: Any = update) -> Any:
            found.append([before is None for before in old])
            return update(batches, old, *rest)

        half.update = record  # type: ignore[method-assign]
        epoch = planned(half, slice(4 * rank, 4 * rank + 4))
        half.learn(epoch, half.collect(epoch, Progress()), Progress())
    assert sorted(found) == [[], [], [False], [True]]


def test_memory_is_that_of_finished_latents_and_one_row_a_pair(small_sdxl: DiffusionModel) -> None:
    # 8 pictures of 192 numbers, two outputs and the latents of each, and two copies of 192 pixels: 4 bytes each
    config = quick(**MATCHING, steps=50, timesteps_per_picture=2)
    assert kept_bytes(config, 192, (8, 8), 1) == 4 * 8 * (3 * 192 + 2 * 192)
    one, two = (Worker(small_sdxl, quick(algorithm=name)).learning_bytes for name in ("matching", "clipped"))
    assert one < 0.7 * two


def test_batch_sizes_change_rounding_only(small_ddpm: DiffusionModel) -> None:
    one, other = (
        first_gradient(algorithm_of(small_ddpm, updates_per_epoch=1, train_batch_size=n, rollout_batch_size=r), rows)
        for n, r, rows in ((3, 3, slice(0, 8)), (16, 0, slice(0, 8)))
    )
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-6)


def test_a_held_out_comparison_and_grids_are_made(small_sdxl: DiffusionModel) -> None:
    config = quick(**MATCHING, epochs=1, steps=2, evaluate_every=1, evaluate_samples=2, sample_every=1)
    run = finetune(small_sdxl, redness, PROMPTS, config, held_out_prompts=["a red star"], watched_reward=brightness)
    [report] = run
    assert set(report.evaluation["rewards"]) == {"redness", "watched: brightness"}
    assert report.evaluation["afterwards"]["rewards"]["redness"]["tuned"] > 0
    assert report.grid.shape == (8, *report.grid.shape[1:3], 3)


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"scheduler": "dpmpp_2m"}, "scheduler", "matching"),
        (
            {"scheduler": "pndm", "algorithm": "score", "updates_per_epoch": 1},
            "scheduler",
            "no probability|probability",
        ),
        ({"algorithm": "matching", "kl_weight": 0.01}, "kl_weight", "Set reference_weight instead"),
        ({"reference_weight": 0.01}, "reference_weight", "kl_weight"),
        ({"rehearsal_weight": 0.1}, "rehearsal_weight", "pick matching"),
        ({"algorithm": "matching", "proximal_weight": 0.0}, "proximal_weight", "nothing is learned"),
        ({"algorithm": "matching", "matching_form": "dpo"}, "matching_form", "nft, awm, regression"),
        ({"algorithm": "matching", "timesteps_per_picture": 0}, "timesteps_per_picture", "from 1 to 64"),
        ({"algorithm": "matching", "advantage_saturation": math.nan}, "advantage_saturation", "from 0.1"),
        ({"algorithm": "matching", "scheduler": "euler", "shared_start": "on"}, "shared_start", "all be the same"),
        ({"algorithm": "matching", "eta": 0.0, "shared_start": "on"}, "shared_start", "all be the same"),
        ({"algorithm": "matching", "scheduler": "flow"}, "scheduler", "Pick one of"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], name: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as e:
        FineTuneConfig(**changes)
    assert e.value.name == name


def test_a_default_scheduler_is_known_once_the_model_is(small_ddpm: DiffusionModel) -> None:
    solver = replace(small_ddpm, scheduler_config={**DDPM, "_class_name": "UniPCMultistepScheduler"})
    changes = {"algorithm": "matching", "scheduler": "model default"}
    with pytest.raises(InputError, match="shared_start: .*unipc"):
        finetune(solver, brightness, "", quick(**changes, shared_start="on"))
    assert trained(solver, **changes, epochs=1).reports[0].updates == 2
    with pytest.raises(InputError, match="scheduler: .*unipc"):
        finetune(solver, brightness, "", quick(scheduler="model default"))


class TimeConditioned(torch.nn.Module):
    """A UNet whose config has the width in which LCM models take the guidance scale."""

    def __init__(self, unet: torch.nn.Module) -> None:
        super().__init__()
        self.config = type("Config", (), {**unet.config, "time_cond_proj_dim": 8})()


@pytest.mark.parametrize(
    "name",
    ["sdxl-turbo", "sdxl_lightning_4step.safetensors", "Hyper-SDXL-8step", "RealVisXL_V5Lightning", "my DMD2 mix"],
)
def test_models_distilled_to_a_few_steps_are_refused_by_name(name: str, small_ddpm: DiffusionModel) -> None:
    with pytest.raises(InputError, match="model: .*distilled to a few steps.*name says so") as e:
        finetune(replace(small_ddpm, name=name), brightness, "", quick(**MATCHING))
    assert e.value.name == "model"


def test_distilled_models_are_known_by_scheduler_network_and_lora_too(small_ddpm: DiffusionModel) -> None:
    config = quick(**MATCHING)
    lcm = replace(small_ddpm, scheduler_config={**DDPM, "_class_name": "LCMScheduler"})
    network = replace(small_ddpm, modules={"unet": TimeConditioned(small_ddpm.unet)})
    learned = trained(small_ddpm, epochs=1).learner.adapter.layers()
    layers = {(c, path.replace(".", "_")): layer for (c, path), layer in learned.items()}
    turbo, plain = (with_lora(small_ddpm, make_lora(name, layers)) for name in ("sdxl-turbo lora", "oil paint"))
    for model, words in ((lcm, "LCMScheduler"), (network, "takes the guidance scale"), (turbo, "LoRA sdxl-turbo")):
        with pytest.raises(InputError, match=words):
            finetune(model, brightness, "", config)
    finetune(plain, brightness, "", config).close()
    finetune(replace(small_ddpm, name="hyperrealism turbulence"), brightness, "", config).close()


def test_epsilon_in_pure_noise_has_nothing_to_learn(small_ddpm: DiffusionModel) -> None:
    zero = {**DDPM, "_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True}
    with pytest.raises(ModelFileError, match="zero terminal SNR"):
        noise_levels(replace(small_ddpm, scheduler_config=zero))
    levels = noise_levels(replace(small_ddpm, scheduler_config={**zero, "prediction_type": "v_prediction"}))
    assert levels.alphas[-1] == 0


def test_a_network_that_overflows_is_an_error_and_teaches_nothing(small_ddpm: DiffusionModel) -> None:
    algorithm = algorithm_of(small_ddpm)
    epoch = planned(algorithm)
    experience = algorithm.collect(epoch, Progress())
    broken = replace(experience, latents=torch.full_like(experience.latents, math.inf))
    before = {k: p.detach().clone() for k, p in algorithm.worker.learner.named_parameters().items()}
    with pytest.raises(NonFiniteError, match="Lower learning_rate"):
        algorithm.learn(epoch, broken, Progress())
    assert same(before, dict(algorithm.worker.learner.named_parameters()))


def test_a_bad_score_stops_the_run(small_ddpm: DiffusionModel) -> None:
    def broken(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return torch.full((len(images),), math.nan)

    run: FineTune = finetune(small_ddpm, broken, "", quick(**MATCHING))
    with pytest.raises(TastemakerError, match="broken scored picture 1"):
        next(run)

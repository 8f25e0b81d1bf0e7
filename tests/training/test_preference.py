"""Learning from preferences in a run: what it learns, what it keeps, what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tastemaker.core.errors import NonFiniteError
from tastemaker.core.progress import Progress
from tastemaker.images.convert import to_pil
from tastemaker.loaders import DiffusionModel, InputError
from tastemaker.ranking import ScoreTable
from tastemaker.training import FineTuneConfig, PreferenceConfig, Preferences, finetune, preference_tune
from tastemaker.training.__main__ import main
from tastemaker.training.algorithms.preference import Preference
from tastemaker.training.epoch import plan_epoch
from tastemaker.training.preference.config import with_preset
from tastemaker.training.preference.preferences import Ranked, pair
from tastemaker.training.preference.sources import from_ranked
from tastemaker.training.preference.tune import with_size_of
from tastemaker.training.processes import SingleProcess
from tastemaker.training.run.curve import panels
from tastemaker.training.scoring import Scorer
from tastemaker.training.worker import Worker

from .conftest import DDPM, PROMPTS, Recorder, Said, brightness, redness, same, state, weights

FORMS = pytest.mark.parametrize("form", ["matching", "dpo"])


def quick(**changes: Any) -> PreferenceConfig:
    return PreferenceConfig(
        **{
            "epochs": 2,
            "samples_per_epoch": 8,
            "steps": 2,
            "rank": 2,
            "targets": "all",
            "learning_rate": 1e-2,
            "sample_every": 0,
            "updates_per_epoch": 2,
            "train_batch_size": 4,
            "evaluate_steps": 0,
            "held_out_share": 0.0,
            **changes,
        }
    )


def bright_over_dark(
    prompts: tuple[str, ...] = ("",), side: int = 8, each: int = 4, group_size: int = 2
) -> Preferences:
    """Of each prompt `each` pictures of noise around grey levels, ordered by how bright they are."""
    labels = [p for p in prompts for _ in range(each)]
    levels = torch.linspace(0.2, 0.8, each).repeat(len(prompts)).view(-1, 1, 1, 1)
    noise = torch.randn(len(labels), side, side, 3, generator=torch.Generator().manual_seed(0))
    images = (levels + 0.05 * noise).clamp(0, 1)
    scores = {"bright": images.mean((1, 2, 3))}
    table = ScoreTable(images, tuple(labels), tuple(range(len(labels))), scores, "bright")
    return from_ranked(table, group_size=group_size, pairs_per_prompt=each // 2)


def algorithm_of(
    model: DiffusionModel, preferences: Preferences, processes: SingleProcess | None = None, **changes: Any
) -> Preference:
    config, processes = quick(**changes), processes or SingleProcess()
    worker = Worker(model, config, processes=processes, schedule=Preference.schedule(model, config))
    return Preference(worker, Scorer([], config, processes), preferences, preferences.groups)


def tuned(model: DiffusionModel, preferences: Preferences, **changes: Any) -> Any:
    run = preference_tune(model, preferences, quick(**changes))
    list(run)
    return run


# --- what it learns -----------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_it_begins_even_and_learns_whatever_the_network_predicts(
    prediction_type: str, form: str, small_ddpm: DiffusionModel
) -> None:
    model = replace(small_ddpm, scheduler_config={**DDPM, "prediction_type": prediction_type})
    one = tuned(model, bright_over_dark(), epochs=1, updates_per_epoch=1, preference_form=form).reports[0]
    start = {"matching": 0.0, "dpo": math.log(2)}[form]
    assert one.loss == pytest.approx(start, abs=1e-6)
    assert (one.accuracy, one.margin, one.drift, one.pairs) == (0.5, 0.0, 0.0, 8)  # 4 pairs at 2 timesteps
    assert (one.reward, one.rewards, one.algorithm) == (None, {}, "preference")
    last = tuned(model, bright_over_dark(), epochs=8, beta=50.0, preference_form=form).reports[-1]
    assert last.loss < start - 1e-3
    assert last.accuracy > 0.7
    assert last.margin > 0


@FORMS
def test_swapped_labels_learn_the_mirror(form: str, small_ddpm: DiffusionModel) -> None:
    known = bright_over_dark()
    swapped = replace(known, groups=tuple(pair(g.prompt, *reversed(g.pictures)) for g in known.groups))
    one, other = (first_gradient(algorithm_of(small_ddpm, p, preference_form=form)) for p in (known, swapped))
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, -other[name], rtol=1e-4, atol=1e-7)


def test_both_forms_begin_the_same_way(small_ddpm: DiffusionModel) -> None:
    """Where nothing has moved, dpo's gradient is beta / 4 of matching's, with a mask too."""
    known = bright_over_dark()
    left = torch.zeros(1, 16, 16)
    left[..., :8] = 1
    masked = replace(known, groups=tuple(g._replace(mask=0, weight=0.5) for g in known.groups), masks=left)
    for preferences in (known, masked):
        one, other = (
            first_gradient(algorithm_of(small_ddpm, preferences, preference_form=form, beta=8.0, train="full"))
            for form in ("matching", "dpo")
        )
        assert max(g.abs().max() for g in one.values()) > 1e-4
        for name in one:
            torch.testing.assert_close(2 * one[name], other[name], rtol=1e-3, atol=1e-6)


def test_matching_holds_pictures_where_dpo_lets_them_go(small_ddpm: DiffusionModel) -> None:
    """With the same steps, the better pictures are denoised about as well as before by the one, worse by the other."""
    drifts = {
        form: tuned(small_ddpm, bright_over_dark(), epochs=12, preference_form=form).reports[-1].drift
        for form in ("matching", "dpo")
    }
    assert drifts["matching"] < 0.25 * drifts["dpo"]


def test_a_run_prefers_bright_and_is_compared_by_a_watched_reward(small_sdxl: DiffusionModel) -> None:
    known = bright_over_dark(PROMPTS, side=32)
    run = preference_tune(
        small_sdxl,
        known,
        quick(epochs=4, samples_per_epoch=16, evaluate_every=4, evaluate_samples=4),
        held_out_prompts=["a red star"],
        watched_reward=brightness,
    )
    *_, last = run
    assert last.accuracy == 1
    gain = last.evaluation["rewards"]["watched: brightness"]["gain_in_base_std"]
    assert math.isfinite(gain)
    assert gain != 0  # which way pictures of an untrained network go says nothing
    assert last.seconds.keys() >= {"learning", "samples and evaluation"}
    assert "encoding" in run.reports[0].seconds
    assert [p.title for p in panels(run.reports)][:2] == ["loss", "pairs agreed on"]
    assert run.lora_state()


@pytest.mark.parametrize("train", ["lora", "full"])
def test_the_model_is_not_changed(train: str, small_ddpm: DiffusionModel) -> None:
    before = weights(small_ddpm)
    run = tuned(small_ddpm, bright_over_dark(), train=train, learning_rate=1e-3)
    assert same(before, weights(small_ddpm))
    assert not any(m._forward_hooks for m in small_ddpm.unet.modules())
    assert run.reports[-1].margin != 0


def test_a_mask_says_where_and_the_rest_has_no_part_in_it(small_ddpm: DiffusionModel) -> None:
    """Pairs that differ below the mask alone pull, those that differ outside it do not."""
    images = torch.full((2, 8, 8, 3), 0.5)
    images[0, :, :4] = 0.9
    known = Preferences(ScoreTable(images, ("",) * 2, (1, 2), {"s": torch.zeros(2)}, "s").pictures, (pair("", 0, 1),))
    left = torch.zeros(1, 16, 16)
    left[..., :8] = 1
    masked = replace(known, groups=(pair("", 0, 1, mask=0),), masks=left)
    algorithm = algorithm_of(small_ddpm, masked, samples_per_epoch=2, updates_per_epoch=1)
    algorithm.encode(Progress())
    [batch] = algorithm._batches([(0, 0)], masked.groups, torch.tensor([[500], [500]]), 0)
    assert batch.mask.shape == (2, 1, 8, 8)
    assert batch.mask[..., :4].min() == 1
    assert batch.mask[..., 4:].max() == 0
    one, other = (
        first_gradient(algorithm_of(small_ddpm, p, samples_per_epoch=2, updates_per_epoch=1)) for p in (known, masked)
    )
    assert max((one[n] - other[n]).abs().max() for n in one) > 1e-4


def test_held_out_pairs_are_asked_and_stop_a_run_that_stands_still(small_sdxl: DiffusionModel) -> None:
    known = bright_over_dark((*PROMPTS, "a pink ring"), side=32)
    config = quick(epochs=6, held_out_share=0.2, evaluate_every=1, beta=50.0, patience=2, samples_per_epoch=8)
    run = preference_tune(small_sdxl, known, replace(config, epochs=2))
    assert {g.prompt for g in run.held_out.groups}.isdisjoint({g.prompt for g in run.algorithm.known})
    first = next(run).evaluation
    assert first["held_out_pairs"] == 2
    assert 0 <= first["accuracy_low"] <= first["accuracy"] <= first["accuracy_high"] <= 1
    assert first["rewards"] == {}
    still = preference_tune(small_sdxl, known, config)
    still.algorithm.margins = lambda groups, progress: torch.tensor([0.1, -0.1])
    assert [r.epoch for r in still] == [1, 2, 3]
    assert "no better" in still.stopped
    assert preference_tune(small_sdxl, known, quick(held_out_share=0.2, evaluate_every=0)).held_out.groups == ()


def test_a_base_that_has_learned_nothing_tells_no_pair_apart(small_ddpm: DiffusionModel) -> None:
    algorithm = algorithm_of(small_ddpm, bright_over_dark())
    assert algorithm.margins(algorithm.known, Progress()).tolist() == [0.0, 0.0]


# --- it holds what every algorithm holds ---------------------------------------------------------


@pytest.mark.parametrize("train", ["lora", "full"])
def test_it_resumes_to_the_bit(train: str, small_ddpm: DiffusionModel, tmp_path: Path) -> None:
    config = quick(epochs=4, train=train, ema_decay=0.9, learning_rate=1e-3)
    known = bright_over_dark()
    whole = preference_tune(small_ddpm, known, config)
    list(whole)
    with preference_tune(small_ddpm, known, config, run_folder=tmp_path / "run") as half:
        next(half), next(half)
    again = preference_tune(small_ddpm, known, config, run_folder=tmp_path / "run")
    assert [r.epoch for r in again] == [3, 4]
    assert same(state(again), state(whole))
    assert [r.figures for r in again.reports] == [r.figures for r in whole.reports]
    with pytest.raises(InputError, match="another beta"):
        preference_tune(small_ddpm, known, replace(config, beta=50.0), run_folder=tmp_path / "run")
    other = replace(known, groups=known.groups[:1])
    with pytest.raises(InputError, match="another preferences"):
        preference_tune(small_ddpm, other, config, run_folder=tmp_path / "run")


class Cancelled(BaseException):
    pass


@pytest.mark.parametrize(("phase", "epoch"), [("encoding", 1), ("learning", 2)])
def test_a_cancel_takes_it_back_to_the_last_whole_epoch(phase: str, epoch: int, small_ddpm: DiffusionModel) -> None:
    def cancel(said: Said) -> None:
        if (said.epoch, said.phase) == (epoch, phase) and said.done >= 4:
            raise Cancelled

    run = preference_tune(small_ddpm, bright_over_dark(), quick(epochs=3), progress=Recorder(cancel))
    with pytest.raises(Cancelled):
        list(run)
    assert run.epoch == epoch - 1
    if run.epoch:
        assert same(state(run), state(tuned(small_ddpm, bright_over_dark(), epochs=1)))
    assert not any(m._forward_hooks for m in small_ddpm.unet.modules())


def test_progress_counts_what_it_said_it_would(small_ddpm: DiffusionModel) -> None:
    recorder = Recorder()
    list(preference_tune(small_ddpm, bright_over_dark(), quick(epochs=1), progress=recorder))
    last = {said.phase: (said.done, said.total) for said in recorder.said}
    assert last["encoding"] == (4, 4)
    assert last["learning"] == (16, 16)  # 8 pictures at 2 timesteps


def first_gradient(algorithm: Preference, rows: slice | None = None) -> dict[str, torch.Tensor]:
    """The gradients of an epoch, added up."""
    found: dict[str, torch.Tensor] = {}
    learner, config = algorithm.worker.learner, algorithm.config

    def step(scale: float, reduce: Callable[..., None]) -> float:
        for name, p in learner.named_parameters().items():
            found[name] = torch.zeros_like(p) if p.grad is None else p.grad.clone()
        return 0.0

    learner.step = step  # type: ignore[method-assign]
    epoch = plan_epoch(config, 0, [""], False, rows or slice(0, config.samples_per_epoch))
    algorithm.learn(epoch, algorithm.collect(epoch, Progress()), Progress())
    return found


class Half(SingleProcess):
    """One of two processes that train together; its sums are left to whoever adds both."""

    world_size = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank


@FORMS
def test_two_processes_are_one_with_the_same_pairs(form: str, small_ddpm: DiffusionModel) -> None:
    known, changes = bright_over_dark(each=6), {"updates_per_epoch": 1, "train": "full", "preference_form": form}
    expected = first_gradient(algorithm_of(small_ddpm, known, **changes))
    halves = [
        first_gradient(algorithm_of(small_ddpm, known, Half(rank), **changes), slice(4 * rank, 4 * rank + 4))
        for rank in (0, 1)
    ]
    for name, gradient in expected.items():
        torch.testing.assert_close(halves[0][name] + halves[1][name], gradient, rtol=1e-3, atol=1e-6)
    assert max(g.abs().max() for g in expected.values()) > 1e-3


@FORMS
@pytest.mark.parametrize("group_size", [2, 4])
def test_batches_that_cut_groups_change_rounding_only(group_size: int, form: str, small_ddpm: DiffusionModel) -> None:
    """A batch of one row asks dpo's groups twice: once without a graph, for the sigmoid that their pictures share."""
    known = bright_over_dark(each=4, group_size=group_size)
    one, other = (
        first_gradient(
            algorithm_of(
                *(small_ddpm, known),
                **{"updates_per_epoch": 1, "train_batch_size": size, "group_size": group_size},
                preference_form=form,
            )
        )
        for size in (1, 16)
    )
    for name in one:
        assert (one[name] - other[name]).norm() <= 1e-3 * max(1e-3, float(other[name].norm()))


def test_groups_of_several_pictures_learn(small_ddpm: DiffusionModel) -> None:
    known = bright_over_dark(each=6, group_size=4)
    assert [len(g.pictures) for g in known.groups] == [4]
    last = tuned(small_ddpm, known, group_size=4, epochs=8, beta=50.0).reports[-1]
    assert last.accuracy > 0.7


# --- sizes and settings --------------------------------------------------------------------------


def test_pictures_of_another_size_are_cut_with_words(small_ddpm: DiffusionModel) -> None:
    run = preference_tune(small_ddpm, bright_over_dark(side=16), quick(epochs=1))
    [report] = run
    assert report.note == "4 of 4 pictures were scaled and cut to 8 x 8 pixels."
    assert tuned(small_ddpm, bright_over_dark(), epochs=1).reports[0].note == ""


def test_a_text_model_learns_at_the_pictures_own_size(small_sdxl: DiffusionModel, small_ddpm: DiffusionModel) -> None:
    known = bright_over_dark(PROMPTS, side=64)
    found = with_size_of(quick(), known, small_sdxl)
    assert (found.height, found.width) == (64, 64)
    assert with_size_of(quick(height=32, width=32), known, small_sdxl).height == 32
    assert with_size_of(quick(), known, small_ddpm).height == 0
    assert with_size_of(quick(), bright_over_dark(PROMPTS, side=33), small_sdxl).height == 0


def test_a_preset_gives_memory_and_settings_for_rewards_keep_what_was_changed() -> None:
    settings = FineTuneConfig(algorithm="matching", ema_decay=0.9, guidance_scale=7.0, samples_per_epoch=640)
    found = with_preset("8 GB", settings, epochs=3)
    assert (found.algorithm, found.epochs, found.ema_decay, found.guidance_scale) == ("preference", 3, 0.9, 7.0)
    assert (found.train_batch_size, found.height, found.targets) == (1, 512, "attention")
    assert (found.samples_per_epoch, found.group_size) == (128, 2)
    assert with_preset("", None).train_batch_size == FineTuneConfig.train_batch_size


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"kl_weight": 0.01}, "kl_weight", "beta"),
        ({"reference_weight": 0.1}, "reference_weight", "beta"),
        ({"algorithm": "clipped"}, "algorithm", "preference"),
        ({"group_size": 1}, "group_size", "from 2"),
        ({"samples_per_epoch": 7}, "samples_per_epoch", "multiple of group_size"),
        ({"beta": 0.0}, "beta", "from 0.01"),
        ({"proximal_weight": 0.0}, "proximal_weight", "from 0.01"),
        ({"preference_form": "nft"}, "preference_form", "matching"),
        ({"held_out_share": 1.0}, "held_out_share", "to 0.5"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], name: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as e:
        PreferenceConfig(**changes)
    assert e.value.name == name


def test_what_cannot_be_learned_from_is_refused_before_anything_runs(small_ddpm: DiffusionModel) -> None:
    known = bright_over_dark()
    with pytest.raises(InputError, match="groups of 4 pictures"):
        preference_tune(small_ddpm, bright_over_dark(group_size=4), quick())
    with pytest.raises(InputError, match="PreferenceConfig"):
        preference_tune(small_ddpm, known, FineTuneConfig())
    with pytest.raises(InputError, match="preference_tune"):
        finetune(small_ddpm, redness, "", quick())
    with pytest.raises(InputError, match="distilled"):
        preference_tune(replace(small_ddpm, name="sdxl-turbo"), known, quick())
    with pytest.raises(InputError, match="evaluate_every"):
        preference_tune(small_ddpm, known, quick(evaluate_every=0), watched_reward=brightness)
    with pytest.raises(InputError, match="processes"):
        preference_tune(small_ddpm, known, quick(samples_per_epoch=6), processes=Half(0))


def test_a_text_model_needs_prompts(small_sdxl: DiffusionModel) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        preference_tune(small_sdxl, bright_over_dark(side=32), quick())


def test_nan_stops_before_it_is_learned(small_ddpm: DiffusionModel) -> None:
    algorithm = algorithm_of(small_ddpm, bright_over_dark())
    algorithm.encode(Progress())
    algorithm._latents[0] = math.nan
    epoch = plan_epoch(algorithm.config, 0, [""], False, slice(0, 8))
    with pytest.raises(NonFiniteError, match="loss became NaN"):
        algorithm.learn(epoch, algorithm.collect(epoch, Progress()), Progress())


def test_a_weight_counts_a_pair_so_much(small_ddpm: DiffusionModel) -> None:
    def gradient(weight: float) -> dict[str, torch.Tensor]:
        known = bright_over_dark(each=2)
        [group] = known.groups
        heavy = replace(known, groups=(Ranked(group.prompt, group.pictures, group.advantages, weight),))
        return first_gradient(algorithm_of(small_ddpm, heavy, updates_per_epoch=1))

    one, half = gradient(1.0), gradient(0.5)
    for name in one:
        torch.testing.assert_close(half[name], 0.5 * one[name], rtol=1e-4, atol=1e-8)


def test_a_run_file_learns_from_a_folder_of_pairs(tmp_path: Path) -> None:
    for side, level in (("w", 0.8), ("l", 0.2)):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        to_pil(torch.full((32, 32, 3), level)).save(tmp_path / "pairs" / side / "a.png")
    settings = {"epochs": 1, "samples_per_epoch": 2, "sample_every": 0, "rank": 1, "evaluate_every": 0}
    run = {"model": "tiny-ddpm", "pairs": "pairs", "run_folder": "run", "config": settings}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    assert main([str(path)]) == 0
    [line] = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["loss"] == pytest.approx(0, abs=1e-3)
    path.write_text(json.dumps({**run, "reward": "jpeg-compressibility"}))
    assert main([str(path)]) == 2
    path.write_text(json.dumps({**run, "config": {"clip": 1}}))
    assert main([str(path)]) == 2

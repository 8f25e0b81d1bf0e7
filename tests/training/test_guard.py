"""The guard: when a run ends, which epoch is kept, and that the kept one is the result, also after a resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tastemaker.loaders import DiffusionModel, InputError
from tastemaker.training import finetune
from tastemaker.training.advantages import disagreement, gate, weighted_sum
from tastemaker.training.algorithms.losses import masked_loss, step_kl
from tastemaker.training.guard import fell, is_judged, judge
from tastemaker.training.heldout import standard_error

from .conftest import brightness, quick, same, trained


def compared(trained: float, watched: tuple[float, float] | None = None, diversity: float = 1.0) -> dict[str, Any]:
    """A comparison: gain of the trained reward, (change, standard error) of the watched one, share of diversity."""
    rewards = {"r": {"change": trained, "standard_error": 0.1, "gain_in_base_std": trained}}
    if watched:
        change, error = watched
        rewards["watched: w"] = {"change": change, "standard_error": error, "gain_in_base_std": change}
    return {"rewards": rewards, "diversity_base": 0.2, "diversity_tuned": 0.2 * diversity}


def test_the_standard_error_by_hand() -> None:
    """Changes 1, 2, 3: standard deviation 1 of the sample, over the root of 3. One pair says nothing of spread."""
    before = torch.tensor([0.0, 5.0, -1.0], dtype=torch.float64)
    after = torch.tensor([1.0, 7.0, 2.0], dtype=torch.float64)
    assert standard_error(before, after) == pytest.approx(3**-0.5, rel=1e-12)
    assert standard_error(before[:1], after[:1]) == 0.0


def test_a_fall_is_more_than_two_standard_errors() -> None:
    assert fell(-0.21, 0.1)
    assert not fell(-0.2, 0.1)
    assert fell(0.29, 0.1, 0.5)
    assert not fell(0.31, 0.1, 0.5)
    assert fell(-1e-9, 0.0)  # every picture lost the same
    assert not fell(0.0, 0.0)


def test_without_trouble_the_best_comparison_is_kept() -> None:
    assert judge([], 0.6) == (0, "")
    found = [(2, compared(0.5)), (4, compared(0.9)), (6, compared(0.8))]
    assert judge(found, 0.6) == (4, "")


def test_a_watched_reward_below_its_start_ends_it_and_the_epoch_before_is_kept() -> None:
    found = [(2, compared(0.5, (-0.1, 0.1))), (4, compared(0.9, (-0.3, 0.1)))]
    kept, why = judge(found, 0.6)
    assert kept == 2
    assert why.startswith("Stopped after epoch 4: w, which is only watched, is 0.3 lower than before training")
    assert why.endswith("What is kept is epoch 2, the best before that.")


def test_a_watched_reward_below_its_best_ends_it() -> None:
    found = [(2, compared(0.5, (0.6, 0.1))), (4, compared(0.9, (0.45, 0.1))), (6, compared(2.0, (0.3, 0.1)))]
    kept, why = judge(found, 0.6)
    assert kept == 4  # .9 + .45 is more than .5 + .6
    assert "Stopped after epoch 6" in why
    assert "0.3 lower than at its best" in why


def test_what_pleases_both_rewards_most_is_best() -> None:
    assert judge([(1, compared(0.9, (0.3, 0.1))), (2, compared(1.0, (0.15, 0.1)))], 0.6) == (1, "")
    assert judge([(1, compared(0.9, (0.3, 0.1))), (2, compared(1.1, (0.15, 0.1)))], 0.6) == (2, "")


def test_several_rewards_count_on_average() -> None:
    def both(trained: tuple[float, float], watched: float) -> dict[str, Any]:
        found = compared(trained[0], (watched, 0.1))
        found["rewards"]["s"] = found["rewards"]["r"] | {"gain_in_base_std": trained[1]}
        return found

    assert judge([(1, both((0.4, 0.8), 0.2)), (2, both((0.5, 0.7), 0.1))], 0.6).kept == 1
    assert judge([(1, both((0.4, 0.8), 0.2)), (2, both((0.7, 0.8), 0.1))], 0.6).kept == 2


def test_diversity_under_the_floor_ends_it() -> None:
    found = [(2, compared(0.5)), (4, compared(0.9, diversity=0.6)), (6, compared(1.5, diversity=0.59))]
    kept, why = judge(found, 0.6)
    assert kept == 4
    assert "59% as different as before training" in why
    assert judge(found, 0.0).stop == ""
    assert judge([(2, compared(0.5, diversity=0.1))], 0.6).kept == 0
    assert "untrained model is kept" in judge([(2, compared(0.5, diversity=0.1))], 0.6).stop


def test_a_comparison_of_an_older_version_is_passed_over() -> None:
    old = {"rewards": {"r": {"tuned": 1.0, "gain_in_base_std": 1.0}}, "diversity_base": 1.0, "diversity_tuned": 1.0}
    assert not is_judged(old)
    assert not is_judged({"rewards": {}})
    assert is_judged(compared(1.0))


class Scripted:
    """A watched reward whose means follow a script: the base's pictures score 0, the n-th tuned ones `changes[n]`."""

    name = "scripted"

    def __init__(self, *changes: float) -> None:
        self.means = [c for change in changes for c in (0.0, change)]

    def __call__(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        mean = self.means.pop(0)  # the base's spread is that of the change: two standard errors are 0.258
        return torch.linspace(-0.3, 0.3, len(images)) if mean == 0.0 else torch.full((len(images),), mean)


GUARDED = {"guard": "on", "evaluate_every": 1, "evaluate_samples": 4, "evaluate_steps": 0, "diversity_floor": 0.0}


def weights(run: Any) -> dict[str, torch.Tensor]:
    return run.lora_state()


@pytest.mark.parametrize("algorithm", ["clipped", "matching"])
def test_what_is_kept_is_the_result_and_resuming_gives_the_same(
    algorithm: str, small_ddpm: DiffusionModel, tmp_path: Path
) -> None:
    """Best after epoch 2, fallen after 4: the result is that of a run of 2 epochs, though 4 were learned."""
    script = (0.5, 1.0, 0.9, 0.2)
    settings = {**GUARDED, "algorithm": algorithm, "ema_decay": 0.5}
    run = finetune(
        small_ddpm, brightness, "", quick(**settings, epochs=6), watched_reward=Scripted(*script), run_folder=tmp_path
    )
    reports = list(run)
    assert [r.epoch for r in reports] == [1, 2, 3, 4]
    assert [r.evaluation["kept_epoch"] for r in reports] == [1, 2, 2, 2]
    assert run.kept == 2
    assert "What is kept is epoch 2" in run.stopped
    assert reports[-1].note == run.stopped
    two = finetune(small_ddpm, brightness, "", quick(algorithm=algorithm, ema_decay=0.5, epochs=2))
    list(two)
    assert same(weights(run), weights(two))
    assert same(load_file(tmp_path / "lora.safetensors"), weights(two))
    # once more, in another process so to speak: finished, and the same result
    again = finetune(
        small_ddpm, brightness, "", quick(**settings, epochs=6), watched_reward=Scripted(), run_folder=tmp_path
    )
    assert again.finished
    assert (again.kept, again.stopped) == (2, run.stopped)
    assert same(weights(again), weights(two))


def test_going_on_after_the_end_goes_on_from_the_last_epoch(small_ddpm: DiffusionModel, tmp_path: Path) -> None:
    """The kept epoch is what comes out; what is learned on is the last one's, to the bit of a run that never ended."""
    whole = finetune(small_ddpm, brightness, "", quick(**GUARDED, epochs=4), watched_reward=Scripted(1, 0.9, 0.9, 2))
    list(whole)
    first = quick(**GUARDED, epochs=2)
    with finetune(small_ddpm, brightness, "", first, watched_reward=Scripted(1, 0.9), run_folder=tmp_path) as run:
        list(run)
        assert run.kept == 1
    more = quick(**GUARDED, epochs=4)
    with finetune(small_ddpm, brightness, "", more, watched_reward=Scripted(0.9, 2), run_folder=tmp_path) as run:
        list(run)
        assert run.kept == whole.kept == 4
        assert same(weights(run), weights(whole))


def test_a_kept_file_that_is_damaged_is_said_and_the_last_epoch_is_the_result(
    small_ddpm: DiffusionModel, tmp_path: Path
) -> None:
    config = quick(**GUARDED, epochs=2)
    with finetune(small_ddpm, brightness, "", config, watched_reward=Scripted(1, 0.9), run_folder=tmp_path) as run:
        list(run)
    (tmp_path / "kept.safetensors").write_bytes(b"\x00" * 16)
    with finetune(small_ddpm, brightness, "", config, watched_reward=Scripted(), run_folder=tmp_path) as run:
        assert run.finished
    last = finetune(small_ddpm, brightness, "", quick(epochs=2))
    list(last)
    assert same(weights(run), weights(last))
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["evaluation"]["kept_epoch"] == 1


def test_at_once_too_much_alike_keeps_the_untrained_model(small_ddpm: DiffusionModel) -> None:
    config = quick(**{**GUARDED, "diversity_floor": 1.0}, epochs=9, learning_rate=0.3)
    run = finetune(small_ddpm, brightness, "", config)
    list(run)
    assert "Stopped after epoch" in run.stopped
    if run.kept == 0:
        assert not any(t.any() for name, t in weights(run).items() if "lora_up" in name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guard": "on"}, "guard: It looks at the comparisons: set evaluate_every above 0"),
        ({"guard": "maybe"}, "guard: Pick one of auto, on, off"),
        ({"diversity_floor": float("nan")}, "diversity_floor"),
        ({"diversity_floor": 1.5}, "diversity_floor"),
        ({"kl_mask": 1.0, "algorithm": "matching"}, "kl_mask: It is a trust region for algorithm clipped"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quick(**change)


# --- what holds a run, by hand ------------------------------------------------------------------


def test_rewards_disagree_where_their_ranks_in_a_group_differ() -> None:
    first, second = torch.tensor([1.0, 2, 3, 10, 20]), torch.tensor([30.0, 20, 10, 1, 2])
    found = disagreement([first, second], ["a", "a", "a", "b", "b"])
    assert found.tolist() == [0.5, 0.0, 0.5, 0.0, 0.0]
    assert gate([first, second], ["a", "a", "a", "b", "b"]).tolist() == [1, 0, 1, 0, 0]
    assert gate([first], ["a"] * 5).tolist() == [1] * 5  # one reward cannot disagree


def test_a_balanced_sum_has_the_size_of_one_reward() -> None:
    one = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    assert weighted_sum([(one, 1.0), (one, 1.0)], 5.0).tolist() == [2, -2, 2, -2]
    torch.testing.assert_close(weighted_sum([(one, 1.0), (one, 1.0)], 5.0, balanced=True), one.float())
    assert weighted_sum([(3 * one, 1.0)], 5.0, balanced=True).tolist() == [3, -3, 3, -3]  # a sum of one is none


def test_a_step_that_moved_too_far_has_no_gradient() -> None:
    """|mean - old|^2 / (2 std^2), summed: 4 numbers that moved by 2 at std 1 are 8 nats."""
    kl = step_kl(torch.full((1, 1, 2, 2), 2.0), torch.zeros(1, 1, 2, 2), torch.ones(1))
    assert kl.tolist() == [8.0]
    now = torch.tensor([0.1, 0.1], requires_grad=True)
    found = masked_loss(now, torch.zeros(2), torch.tensor([2.0, 2.0]), torch.tensor([7.9, 8.1]), 8.0)
    found.loss.sum().backward()
    ratio = torch.tensor(0.1).exp()
    torch.testing.assert_close(found.loss, torch.stack([-2 * ratio, torch.tensor(0.0)]))
    torch.testing.assert_close(now.grad, torch.stack([-2 * ratio, torch.tensor(0.0)]))
    assert found.clipped.tolist() == [False, True]


def test_the_mask_leaves_out_all_that_moved_within_an_epoch(small_ddpm: DiffusionModel) -> None:
    """Nothing has moved in the first of two updates; in the second every step has, beyond so small a bound."""
    [tight] = trained(small_ddpm, epochs=1, kl_mask=1e-12).reports
    [loose] = trained(small_ddpm, epochs=1, kl_mask=1e6).reports
    assert tight.clip_fraction == pytest.approx(0.5)
    assert loose.clip_fraction == 0


def test_pictures_that_rewards_agree_about_are_not_held(small_ddpm: DiffusionModel) -> None:
    """With the watched reward the same as the trained one nothing is held, and with its opposite nearly all is."""

    def distance(watched: Any) -> float:
        config = quick(epochs=2, kl_weight=100.0, kl_gate="disagreement", evaluate_every=2, evaluate_samples=2)
        return list(finetune(small_ddpm, brightness, "", config, watched_reward=watched))[-1].kl

    assert distance(lambda images, prompts: -brightness(images, prompts)) < 0.8 * distance(
        lambda images, prompts: brightness(images, prompts)
    )

"""The protocol of algorithms: what each of ours keeps to, and a second one that is a class of a few lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch

from tastemaker.core.progress import Progress
from tastemaker.core.randomness import generator
from tastemaker.loaders import DiffusionModel, InputError
from tastemaker.rewards.reward import Reward
from tastemaker.training import FineTune, FineTuneConfig, finetune
from tastemaker.training.__main__ import summary
from tastemaker.training.algorithms.base import Algorithm, Experience
from tastemaker.training.algorithms.classes import CLASSES
from tastemaker.training.algorithms.registry import ALGORITHMS, OFFLINE, KnownAlgorithm
from tastemaker.training.epoch import Epoch
from tastemaker.training.heldout import HeldOut
from tastemaker.training.processes import SingleProcess
from tastemaker.training.run.curve import panels
from tastemaker.training.run.report import EpochReport, Figure
from tastemaker.training.scoring import Scorer
from tastemaker.training.worker import Worker

from .conftest import Recorder, Said, brightness, quick, same, state, trained


@dataclass(frozen=True)
class Noise(Experience):
    x: torch.Tensor


class Constant(Algorithm[Noise]):
    """Regress the network's output for noise to 0.25: nothing is sampled, nothing scored."""

    figures = (Figure("loss", "distance from 0.25", floor=0), Figure("updates"))

    def collect(self, epoch: Epoch, progress: Progress) -> Noise:
        return Noise(None, torch.randn(4, 3, 8, 8, generator=generator(self.worker.config.seed, "noise", epoch.number)))

    def learn(self, epoch: Epoch, experience: Noise, progress: Progress) -> Mapping[str, float]:
        worker, updates = self.worker, self.worker.config.updates_per_epoch
        progress.phase("learning", updates)
        with worker.learning():
            for _ in range(updates):
                output = worker.network(worker.learner.policy, [""] * 4).predict(experience.x, torch.full((4,), 500))
                loss = (output - 0.25).square().mean()
                loss.backward()
                worker.learner.step(worker.gradient_scale, worker.processes.all_reduce_sum)
                progress.advance()
        return {"loss": loss.item(), "updates": updates}


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of a run with it."""
    monkeypatch.setitem(ALGORITHMS, "constant", KnownAlgorithm("towards a constant.", gaussian_steps=False))
    monkeypatch.setitem(CLASSES, "constant", Constant)
    return {"algorithm": "constant"}


def test_a_second_algorithm_learns_and_reports(
    constant: dict[str, str], small_ddpm: DiffusionModel, tmp_path: Path
) -> None:
    config = quick(**constant, epochs=6, evaluate_every=6, evaluate_samples=2)
    run = finetune(small_ddpm, brightness, "", config, run_folder=tmp_path / "run")
    first, *_, last = run
    assert last.loss < 0.5 * first.loss
    assert (first.reward, first.rewards, first.updates) == (None, {}, 2)
    assert last.evaluation["rewards"]["brightness"]["tuned"] != last.evaluation["rewards"]["brightness"]["base"]
    assert set(first.seconds) == {"learning", "samples and evaluation"}
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert (line["algorithm"], line["loss"], line["reward"]) == ("constant", first.loss, None)
    assert next(p.title for p in panels(run.reports)) == "distance from 0.25"
    assert summary(first).startswith(f"epoch 1: loss {first.loss:.4f}, ")


def test_an_algorithm_that_scores_nothing_needs_no_reward(constant: dict[str, str], small_ddpm: DiffusionModel) -> None:
    """As one that learns from what people preferred: made by hand, with comparisons that have no reward."""
    config = quick(**constant, evaluate_every=1, evaluate_samples=2, patience=1)
    algorithm = Constant(Worker(small_ddpm, config), Scorer([], config, SingleProcess()))
    run = FineTune(algorithm, [""], HeldOut(small_ddpm, config, [""], None, None), None, None)
    assert [report.evaluation["rewards"] for report in run] == [{}, {}]
    assert same(state(run), state(trained(small_ddpm, **constant)))


def test_it_resumes_to_the_bit(constant: dict[str, str], small_ddpm: DiffusionModel, tmp_path: Path) -> None:
    config = quick(**constant, epochs=4)
    whole = finetune(small_ddpm, brightness, "", config)
    list(whole)
    with finetune(small_ddpm, brightness, "", config, run_folder=tmp_path / "run") as half:
        next(half), next(half)
    again = finetune(small_ddpm, brightness, "", config, run_folder=tmp_path / "run")
    assert [r.epoch for r in again] == [3, 4]
    assert same(state(again), state(whole))
    assert [r.loss for r in again.reports] == [r.loss for r in whole.reports]
    with pytest.raises(InputError, match="another algorithm"):
        finetune(small_ddpm, brightness, "", quick(epochs=4), run_folder=tmp_path / "run")


class Cancelled(BaseException):
    pass


def test_a_cancel_takes_it_back_to_the_last_whole_epoch(constant: dict[str, str], small_ddpm: DiffusionModel) -> None:
    def cancel(said: Said) -> None:
        if (said.epoch, said.phase, said.done) == (2, "learning", 1):
            raise Cancelled

    run = finetune(small_ddpm, brightness, "", quick(**constant, epochs=3), progress=Recorder(cancel))
    with pytest.raises(Cancelled):
        list(run)
    assert run.epoch == 1
    assert same(state(run), state(trained(small_ddpm, **constant, epochs=1)))
    assert not any(m._forward_hooks for m in small_ddpm.unet.modules())


def test_its_name_is_an_option_only_while_it_is_registered(constant: dict[str, str]) -> None:
    [spec] = [f for f in fields(FineTuneConfig) if f.name == "algorithm"]
    assert list(spec.metadata["options"]) == ["clipped", "score", "matching", "reward_gradient", "constant"]
    assert FineTuneConfig(algorithm="constant", eta=0.0).eta == 0.0  # it needs no noise in each step
    ALGORITHMS.pop("constant")
    for bad in ("constant", ["clipped"], {}):
        with pytest.raises(InputError, match="algorithm: Pick one of clipped, score"):
            FineTuneConfig(algorithm=bad)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_an_algorithm_reports_is_what_it_says(name: str, small_ddpm: DiffusionModel) -> None:
    made = CLASSES[name]
    assert list(CLASSES) == [*ALGORITHMS, *OFFLINE]
    assert ALGORITHMS[name].tip.endswith(".")
    names = [figure.name for figure in made.figures]
    assert "loss" in names
    assert not set(names) & {f.name for f in fields(EpochReport)}
    reward = Reward("brightness", brightness, False, "", "brightness", gradient_score=brightness)
    [report] = trained(small_ddpm, reward, algorithm=name, epochs=1, updates_per_epoch=1).reports
    assert list(report.figures) != []
    assert sorted(report.figures) == sorted(names)


# --- reports ------------------------------------------------------------------------------------

# of a run folder made before algorithms had names
OLD_LINE = (
    '{"epoch": 2, "reward": 0.49, "reward_std": 0.02, "rewards": {"brightness": 0.49}, "loss": -0.03, "kl": 0.0, '
    '"ratio": 0.91, "clip_fraction": 0.125, "first_ratio_error": 0.0, "grad_norm": 0.79, "learning_rate": 0.01, '
    '"updates": 2, "pairs": 16, "dropped": 0, "pictures": 8, "seconds": {"sampling": 0.064}, "evaluation": null, '
    '"note": ""}'
)


def test_a_line_of_an_older_version_is_a_report() -> None:
    report = EpochReport.from_record(json.loads(OLD_LINE))
    assert (report.algorithm, report.loss, report.kl, report.ratio, report.updates) == ("clipped", -0.03, 0.0, 0.91, 2)
    assert {**json.loads(OLD_LINE), "algorithm": "clipped"} == report.record()
    assert EpochReport.from_record(report.record()) == report
    with pytest.raises(AttributeError, match="no figure 'entropy'"):
        _ = report.entropy


@pytest.mark.parametrize(
    "change", [{"epoch": "2"}, {"reward": "high"}, {"reward": float("nan")}, {"loss": float("inf")}]
)
def test_what_is_no_report_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        EpochReport.from_record({**json.loads(OLD_LINE), **change})


def test_a_run_folder_without_a_newer_setting_goes_on_by_its_default(
    small_ddpm: DiffusionModel, tmp_path: Path
) -> None:
    list(finetune(small_ddpm, brightness, "", quick(epochs=1), run_folder=tmp_path))
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["identity"]["settings"]["shared_start"]
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="another shared_start"):
        finetune(small_ddpm, brightness, "", quick(epochs=1, shared_start="on"), run_folder=tmp_path)
    assert finetune(small_ddpm, brightness, "", quick(epochs=1), run_folder=tmp_path).finished

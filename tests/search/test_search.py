"""What a search promises: the same bits, the budget, lineage that makes a picture again, refusals in words."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tastemaker.core.errors import InputError, NonFiniteError
from tastemaker.ranking.output.save import save_table
from tastemaker.rewards.reward import Reward
from tastemaker.sampling import SampleOptions, SampleSettings, sample
from tastemaker.search import METHODS, SearchSettings, again, search
from tastemaker.search.methods.particles import looks
from tastemaker.search.methods.prune import begun
from tests.recorded import Recorded

PROMPTS = ["a large red heart on a blue background", "a small green ring on a white background"]
FEW = SampleSettings(steps=4, eta=1.0, guidance_scale=1.0)
ONE_AT_A_TIME = SampleOptions(at_once=1)


def redness(images: torch.Tensor, prompts: Any) -> torch.Tensor:
    return images[..., 0].mean((1, 2)) - images[..., 1:].mean((1, 2, 3))


RED = Reward("red", redness, needs_prompt=False, meaning="", fingerprint="red")


def found(model: Any, prompts: Any = PROMPTS[0], reward: Reward = RED, **fields: Any) -> Any:
    call = {name: fields.pop(name) for name in ("progress", "sampling", "options", "on_look") if name in fields}
    fields = {"budget": 24, "look_every": 1, "strength": 20.0, "draft_steps": 2, **fields}
    return search(model, prompts, reward, SearchSettings(**fields), **{"sampling": FEW, **call})


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_is_made_again_from_its_file_and_a_prompt_alone_gives_the_same_bits(
    tiny_sdxl: Any, tmp_path: Path, method: str
) -> None:
    budget, looked = 16 if method == "drafts" else 12, []  # two pictures at least
    both = found(tiny_sdxl, PROMPTS, method=method, budget=budget, keep=2, seed=3)
    assert both.prompts == (PROMPTS[0],) * 2 + (PROMPTS[1],) * 2
    assert both.scores[0] >= both.scores[1]
    assert torch.allclose(both.scores, redness(both.images, None))
    assert both.cost.evaluations <= 2 * budget
    alone = found(
        tiny_sdxl, PROMPTS[1], method=method, budget=budget, keep=2, seed=3, on_look=lambda _, look: looked.append(look)
    )
    assert torch.equal(alone.images, both.images[2:])
    assert torch.equal(alone.latents, both.latents[2:])
    assert looked[-1].step == looked[-1].steps == 4
    saved = save_table(alone.table(), tmp_path, "best_", parts=["pictures"])
    for i, path in enumerate(saved.pictures[:1] if method in ("best_of_n", "prune") else saved.pictures):
        made = again(tiny_sdxl, path)
        assert torch.equal(made.images[0], alone.images[i])
        assert torch.equal(made.latents[0], alone.latents[i])


def test_strength_0_and_one_particle_are_plain_sampling_bit_for_bit(tiny_sdxl: Any) -> None:
    plain = sample(tiny_sdxl, PROMPTS[0], FEW, seeds=range(5, 9), options=ONE_AT_A_TIME)
    calm = found(tiny_sdxl, method="particle steering", budget=16, strength=0.0, seed=5, keep=4)
    order = [calm.seeds.index(seed) for seed in plain.seeds]
    assert torch.equal(calm.latents[order], plain.latents)
    assert torch.equal(calm.images[order][:1], sample(tiny_sdxl, PROMPTS[0], FEW, seeds=[5]).images)
    one = found(tiny_sdxl, method="particle steering", budget=4, seed=7)
    assert torch.equal(one.latents, plain.latents[2:3])
    unpulled = found(tiny_sdxl, method="drafts", budget=8, guide_scale=0.0, seed=5, keep=1)
    assert torch.equal(unpulled.latents, plain.latents[2:3])  # the seeds of the two drafts come first


def test_best_of_n_is_the_best_of_samples_own_pictures(tiny_sdxl: Any) -> None:
    plain = sample(tiny_sdxl, PROMPTS[0], FEW, seeds=range(6), options=ONE_AT_A_TIME)
    best = found(tiny_sdxl, keep=1)
    place = int(redness(plain.images, None).argmax())
    assert best.seeds == (place,)
    assert torch.equal(best.latents[0], plain.latents[place])
    assert best.compared[0].how == "from its own pictures"
    assert (best.cost.evaluations, best.cost.decodes, best.cost.scorings) == (24, 6, 6)


def test_particles_are_copied_and_part(tiny_sdxl: Any) -> None:
    seen: list[Any] = []
    done = found(
        tiny_sdxl, method="particle steering", strength=400.0, keep=6, on_look=lambda prompt, look: seen.append(look)
    )
    assert [look.step for look in seen] == [1, 2, 3, 4]
    assert not all(seen[0].alive)
    families = {recipe.seed for recipe in done.recipes}
    assert len(families) < 6
    assert len({tuple(latent.flatten().tolist()) for latent in done.latents}) == 6
    for before, look in pairwise(seen):
        assert look.first == before.first + 6
        assert all(before.alive[parent - before.first] for parent in look.parents)


def test_the_comparison_is_measured_on_request(tiny_sdxl: Any) -> None:
    recorded = Recorded()
    done = found(tiny_sdxl, method="prune", compare="on", progress=recorded)
    assert done.compared[0].how == "measured"
    assert recorded.counts[-1] == (48, 48)
    assert "measured" in done.report
    silent = found(tiny_sdxl, method="prune")
    assert "not known" in silent.report
    assert torch.equal(silent.images, done.images)


@pytest.mark.parametrize("limit", [{"max_decodes": 3, "max_scorings": 4}, {"max_seconds": 1e-6}])
@pytest.mark.parametrize("method", METHODS)
def test_every_limit_stops_and_a_picture_is_finished(tiny_sdxl: Any, method: str, limit: dict[str, Any]) -> None:
    if method == "particle steering" and "max_seconds" not in limit:
        limit = dict.fromkeys(limit, 7)  # six particles are finished in any case
    done = found(tiny_sdxl, method=method, keep=1, **limit)
    assert len(done.images) == 1
    for name, most in limit.items():
        if name != "max_seconds":
            assert getattr(done.cost, name.removeprefix("max_")) <= most


def test_cancel_takes_effect_within_a_step(tiny_sdxl: Any) -> None:
    class Cancelled(Exception):
        pass

    def stop(phase: str, done: int, total: int) -> None:
        if done == 3:
            raise Cancelled

    recorded = Recorded(stop)
    with pytest.raises(Cancelled):
        found(tiny_sdxl, progress=recorded)
    assert recorded.done[-1] == 3


@pytest.mark.parametrize(
    ("fields", "sampling", "words"),
    [
        ({"budget": 3}, {}, "budget: best_of_n needs at least 1 of 4"),
        ({"budget": 3, "method": "prune"}, {}, "budget"),
        ({"budget": 5, "method": "drafts"}, {}, "budget: drafts needs two of 2"),
        ({"method": "particle steering"}, {"eta": 0.0}, "eta: particle steering needs fresh noise"),
        ({"method": "particle steering"}, {"eta": 0.0, "scheduler": "euler"}, "scheduler: .*history"),
        ({"method": "prune"}, {"eta": 0.0, "scheduler": "dpmpp_2m"}, "scheduler: .*history"),
        ({"method": "drafts"}, {"eta": 0.0, "scheduler": "pndm"}, "scheduler: .*history"),
        ({"method": "luck"}, {}, "method"),
        ({"keep": 0}, {}, "keep"),
        ({"strength": float("nan")}, {}, "strength"),
        ({"look_from": 0.9, "look_until": 0.5}, {}, "look_from"),
        ({}, {"denoise": 0.5}, "denoise"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_words(
    tiny_sdxl: Any, fields: dict[str, Any], sampling: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        found(tiny_sdxl, sampling=replace(FEW, **sampling), **fields)


def test_scores_that_are_no_numbers_end_the_search_by_name_and_equal_ones_do_not(tiny_sdxl: Any) -> None:
    broken = replace(RED, name="broken", score=lambda images, prompts: redness(images, prompts) * float("nan"))
    level = replace(RED, name="level", score=lambda images, prompts: torch.zeros(len(images)))
    for method in METHODS:
        with pytest.raises(NonFiniteError, match="broken scored picture 1"):
            found(tiny_sdxl, reward=broken, method=method)
        assert found(tiny_sdxl, reward=level, method=method, budget=8, keep=1).seeds[0] <= 3  # the first after drafts


def test_a_file_that_no_search_wrote_is_refused(tiny_sdxl: Any, tmp_path: Path) -> None:
    record = found(tiny_sdxl, budget=4).table().records()[0]
    assert json.loads(json.dumps(record)) == json.loads(json.dumps(record, allow_nan=False))
    assert again(tiny_sdxl, json.loads(json.dumps(record))).seeds == (0,)
    made = record["made"]
    bad: list[tuple[Any, str]] = [
        ({}, "does not say that a search"),
        ({**record, "made": {**made, "fingerprint": "x"}}, "other weights"),
        ({**record, "made": {**made, "recipe": {"path": [[1, 2]]}}}, "no lineage"),
        ({**record, "made": {**made, "recipe": {"path": [[0, 2], [99, 1]]}}}, "4 steps"),
        ({**record, "made": {**made, "recipe": {"path": [[0, -2]]}}}, "no lineage"),
        ({**record, "made": {**made, "sampling": {**made["sampling"], "steps": "4"}}}, "steps"),
        ({**record, "made": {**made, "sampling": {"odd": 1}}}, "SampleSettings"),
        (tmp_path / "none.png", "cannot be read"),
    ]
    for picture, words in bad:
        with pytest.raises(InputError, match=words):
            again(tiny_sdxl, picture)


def test_looks_and_what_prune_begins_by_hand() -> None:
    assert looks(25, SearchSettings(look_every=4)) == [5, 9, 13, 17]
    assert looks(4, SearchSettings(look_every=1, look_from=0.0, look_until=1.0)) == [1, 2, 3]
    assert looks(1, SearchSettings()) == []
    assert begun(400, 25, 6, 0.25, 100) == (36, 9)  # 36 x 6 + 9 x 19 = 387; 37 x 6 + 10 x 19 = 412
    assert begun(400, 25, 6, 0.25, 10) == (8, 2)
    assert begun(24, 25, 6, 0.25, 100) == (0, 0)

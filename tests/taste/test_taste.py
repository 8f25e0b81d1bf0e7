"""A taste from pictures and clicks to a reward and a file, and what a stranger's file may hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tastemaker.core.errors import InputError, ModelFileError
from tastemaker.images.pictures import as_pictures
from tastemaker.rewards.function import custom
from tastemaker.rewards.heat import heat_map
from tastemaker.taste import Click, Taste, learn, parse_clicks, read_taste, write_taste
from tastemaker.taste.attributes import ATTRIBUTES, attributes
from tastemaker.taste.clicks import clicks_of_marks
from tastemaker.taste.features import group_means, whiten
from tastemaker.taste.picture import Explained, extremes, learned_picture, map_places
from tastemaker.taste.taste import without_stars
from tastemaker.taste.words import agreement, crowd_agreement, learned, report, why

COUNT = 40


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """Plain coloured pictures with some noise: (B, 32, 32, 3)."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(COUNT, 1, 1, 3, generator=generator)
    return (colours + 0.1 * torch.randn(COUNT, 32, 32, 3, generator=generator)).clamp(0, 1)


IDS = [f"{i:016x}" for i in range(COUNT)]
PROMPT = "a large red heart on a blue background"


def warm_clicks(pictures: torch.Tensor, count: int = 40) -> list[Click]:
    """Clicks of somebody who likes red more than blue."""
    warmth = (pictures[..., 0] - pictures[..., 2]).mean((1, 2))
    rng = np.random.default_rng(0)
    grids = [rng.choice(COUNT, 6, replace=False) for _ in range(count)]
    best = [int(grid[warmth[grid].argmax()]) for grid in grids]
    return [
        Click(tuple(IDS[i] for i in g), IDS[b], "random", at) for at, (g, b) in enumerate(zip(grids, best, strict=True))
    ]


def taught(pictures: torch.Tensor, reward: Any, clicks: list[Click] | None = None, **more: Any) -> Taste:
    given = warm_clicks(pictures) if clicks is None else clicks
    return learn(given, pictures, reward, ids=IDS, prompts=[PROMPT] * COUNT, **more)[0]


@pytest.fixture(scope="module")
def taste(pictures: torch.Tensor, tiny_reward: Any) -> Taste:
    return taught(pictures, tiny_reward)


def test_attributes_of_plain_pictures_by_hand() -> None:
    red = torch.zeros(1, 64, 64, 3)
    red[..., 0] = 1.0
    seen = dict(zip(ATTRIBUTES, attributes(red)[0].tolist(), strict=True))
    assert seen["brightness"] == pytest.approx(0.299, abs=1e-4)
    assert seen["warmth"] == pytest.approx(1.0, abs=1e-4)
    assert seen["greenness"] == pytest.approx(-0.5, abs=1e-4)
    assert seen["saturation"] == pytest.approx(1.0, abs=1e-4)
    assert seen["contrast"] < 1e-3
    low = torch.ones(1, 64, 64, 3)
    low[:, 48:, :16] = 0.0  # a dark square at the bottom left
    placed = dict(zip(ATTRIBUTES, attributes(low)[0].tolist(), strict=True))
    assert placed["height"] < -0.5
    assert placed["leftness"] > 0.5


def test_white_is_white() -> None:
    data = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.tensor([1.0, 2.0, 0.5]))
    centre, directions = whiten(data)
    white = (data - centre) @ directions
    assert torch.allclose(torch.cov(white.T), torch.eye(3), atol=0.05)


def test_a_row_alone_with_its_prompt_is_compared_with_the_others_that_are_alone() -> None:
    means = group_means(torch.tensor([[1.0], [3.0], [10.0], [20.0]]), ["a", "a", "b", "c"])
    assert means.flatten().tolist() == [2.0, 2.0, 15.0, 15.0]


def test_the_reward_ranks_as_the_person_does_and_its_gradient_points_there(
    taste: Taste, pictures: torch.Tensor, tiny_reward: Any
) -> None:
    reward = taste.reward([tiny_reward])
    scores = reward(pictures, PROMPT)
    warmth = (pictures[..., 0] - pictures[..., 2]).mean((1, 2))
    assert np.corrcoef(scores.numpy(), warmth.numpy())[0, 1] > 0.8
    assert reward.differentiable
    leaf = pictures[:4].clone().requires_grad_()
    reward.with_gradient(leaf, PROMPT).sum().backward()
    assert leaf.grad[..., 0].mean() > leaf.grad[..., 2].mean()


def test_its_gradient_works_where_a_host_made_it(taste: Taste, pictures: torch.Tensor, tiny_reward: Any) -> None:
    """Hosts run nodes inside inference mode, whose tensors no gradient may touch."""
    with torch.inference_mode():
        made = taste.reward([tiny_reward])
        picture = pictures[:1].clone()
        leaf_gradient = heat_map(made, picture, PROMPT)
    assert leaf_gradient.shape == (1, 32, 32)
    assert leaf_gradient.max() > 0


def test_its_gradient_works_where_a_host_read_it(
    taste: Taste, pictures: torch.Tensor, tiny_reward: Any, tmp_path: Path
) -> None:
    write_taste(taste, tmp_path / "me.safetensors")
    with torch.inference_mode():
        made = read_taste(tmp_path / "me.safetensors").reward([tiny_reward])
        assert heat_map(made, pictures[:1].clone(), PROMPT).max() > 0


def test_without_clicks_it_is_the_crowds(pictures: torch.Tensor, tiny_reward: Any) -> None:
    reward = taught(pictures, tiny_reward, []).reward([tiny_reward])
    mine, crowds = reward(pictures, PROMPT), tiny_reward(pictures, PROMPT)
    assert torch.equal(mine.argsort(), crowds.argsort())


def test_what_it_learned_is_said(taste: Taste, pictures: torch.Tensor, tiny_reward: Any) -> None:
    features = learn([], pictures, tiny_reward, ids=IDS, prompts=[PROMPT] * COUNT, before=taste)[1].double().numpy()
    first = learned(taste)[0]
    assert (first.words, first.sure) == ("warmer", True)
    said = report(taste, features, [PROMPT] * COUNT)
    assert "warmer" in said
    tau = crowd_agreement(taste, features, [PROMPT] * COUNT)["tiny-imagereward"]
    assert f"agree at tau {tau:.2f}" in said
    assert -1 < tau < 0.8  # who likes warmth does not order pictures as the crowd does
    alone = replace(taste, answers=())  # nobody has clicked: the crowd's own order
    assert crowd_agreement(alone, features, [PROMPT] * COUNT)["tiny-imagereward"] == pytest.approx(1.0)
    found = agreement(taste, features)
    assert 0.75 < found.accuracy_low <= found.accuracy <= found.accuracy_high <= 1.0
    shares = why(taste, features[0], features)
    total = float((features @ taste.posterior.mean)[0] - (features @ taste.posterior.mean).mean())
    assert sum(share for _, share in shares) == pytest.approx(total, abs=1e-6)


def test_repeats_are_counted(pictures: torch.Tensor, tiny_reward: Any) -> None:
    shown = tuple(IDS[:6])
    clicks = [
        Click(shown, IDS[0], "random", 1),
        Click(shown[::-1], IDS[0], "repeat", 2),
        Click(shown, IDS[1], "repeat", 3),
    ]
    made = taught(pictures, tiny_reward, clicks)
    found = agreement(made, np.random.default_rng(0).standard_normal((10, len(made.recipe.names))))
    assert (found.asked_again, found.same_again) == (2, 1)


@pytest.mark.parametrize("count", [0, 1])
def test_one_picture_is_refused_in_words(pictures: torch.Tensor, tiny_reward: Any, count: int) -> None:
    with pytest.raises(InputError, match="at least two"):
        learn([], pictures[:1].repeat(1, 1, 1, 1)[:1], tiny_reward, ids=IDS[:1], prompts=[PROMPT])


def test_pictures_all_the_same_and_clicks_that_contradict(tiny_reward: Any) -> None:
    same = torch.full((6, 32, 32, 3), 0.5)
    shown = tuple(IDS[:6])
    clicks = [Click(shown, IDS[0], "telling", 1), Click(shown, IDS[1], "telling", 2), Click(shown, "", "telling", 3)]
    made, features = learn(clicks, same, tiny_reward, ids=IDS[:6], prompts=[PROMPT] * 6)
    assert len(made.counted) == 2
    scores = made.reward([tiny_reward])(same, PROMPT)
    assert torch.isfinite(scores).all()
    assert agreement(made, features.double().numpy()).accuracy == pytest.approx(0.5, abs=1e-6)


def test_a_taste_goes_on_and_an_answer_counts_once(taste: Taste, pictures: torch.Tensor, tiny_reward: Any) -> None:
    clicks = [*warm_clicks(pictures), Click(tuple(IDS[:6]), IDS[3], "telling", 900)]
    more = taught(pictures, tiny_reward, clicks, before=taste)
    assert len(more.answers) == len(taste.answers) + 1
    assert more.recipe is taste.recipe


# --- the file -----------------------------------------------------------------------------------


def test_the_file_gives_the_same_taste_back(
    taste: Taste, pictures: torch.Tensor, tiny_reward: Any, tmp_path: Path
) -> None:
    path = tmp_path / "me.safetensors"
    write_taste(taste, path)
    again = read_taste(path)
    assert again.answers[7].click == taste.answers[7].click
    assert np.array_equal(again.posterior.mean, taste.posterior.mean)
    one, other = taste.reward([tiny_reward]), again.reward([tiny_reward])
    assert one.fingerprint == other.fingerprint
    assert torch.equal(one(pictures, PROMPT), other(pictures, PROMPT))
    assert path.stat().st_size < 64_000


def test_a_taste_of_another_encoder_is_refused(taste: Taste) -> None:
    other = custom("tiny-imagereward", lambda images, prompts: images.mean((1, 2, 3)), version="another")
    with pytest.raises(InputError, match="with other weights"):
        taste.reward([other])
    with pytest.raises(InputError, match="Connect tiny-imagereward"):
        taste.reward([])


def _changed(name: str, path: Path) -> None:
    """Damage a taste's file in one way."""
    data = path.read_bytes()
    if name == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif name == "empty":
        path.write_bytes(b"")
    elif name == "html":
        path.write_bytes(b"<html>not found</html>")
    else:
        tensors = load_file(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            notes = json.loads(file.read(length))["__metadata__"]
        if name == "nan":
            tensors["answers"][0, 0] = float("nan")
        elif name == "shape":
            tensors["directions"] = tensors["directions"][:, :-1].contiguous()
        elif name == "missing":
            del tensors["reward_std"]
        elif name == "zero":
            tensors["attribute_std"][0] = 0.0
        elif name == "clicks":
            notes["clicks"] = '{"version": 1, "clicks": [["../x", 1]]}'
        elif name == "names":
            notes["names"] = json.dumps(["a"] * 27)
        elif name == "sizes":
            tensors["sizes"][0] = -5
        elif name == "other":
            notes = {}
        save_file(tensors, path, metadata=notes)


@pytest.mark.parametrize(
    "damage", ["cut", "empty", "html", "nan", "shape", "missing", "zero", "clicks", "names", "sizes", "other"]
)
def test_a_damaged_file_is_refused_in_words(taste: Taste, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "me.safetensors"
    write_taste(taste, path)
    _changed(damage, path)
    with pytest.raises(ModelFileError, match=r"me\.safetensors"):
        read_taste(path)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "[]",
        '{"version": 2, "clicks": []}',
        '{"version": 1, "clicks": 5}',
        '{"version": 1, "clicks": [[["aaaaaaaa"], "", "random", 1]]}',
        '{"version": 1, "clicks": [[["aaaaaaaa", "aaaaaaaa"], "", "random", 1]]}',
        '{"version": 1, "clicks": [[["aaaaaaaa", "bbbbbbbb"], "cccccccc", "random", 1]]}',
        '{"version": 1, "clicks": [[["aaaaaaaa", "bbbbbbbb"], "aaaaaaaa", "<img>", 1]]}',
        '{"version": 1, "clicks": [[["aaaaaaaa", "../../x.y"], "aaaaaaaa", "random", 1]]}',
        '{"version": 1, "clicks": [[["aaaaaaaa", "bbbbbbbb"], "aaaaaaaa", "random", 1e999]]}',
        '{"version": 1, "clicks": [[["aaaaaaaa", "bbbbbbbb"], "aaaaaaaa", "random", true]]}',
        '{"version": 1, "clicks": [[["aaaaaaaa", "bbbbbbbb"], "aaaaaaaa", ["random"], 1]]}',
        '{"version": [1], "clicks": [[["aaaaaaaa", "bbbbbbbb"], ["a"], "random", 1]]}',
    ],
)
def test_what_is_no_list_of_clicks_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="clicks"):
        parse_clicks(text)


def test_the_map_puts_what_is_liked_more_to_the_right_and_up(
    taste: Taste, pictures: torch.Tensor, tiny_reward: Any
) -> None:
    features = learn([], pictures, tiny_reward, ids=IDS, prompts=[PROMPT] * COUNT, before=taste)[1].double().numpy()
    places = map_places(taste, features)
    liked = features @ taste.posterior.mean
    assert places.shape == (COUNT, 2)
    assert places.min() >= 0
    assert places.max() <= 1
    assert np.corrcoef(places[:, 0], liked)[0, 1] > 0.5
    assert np.corrcoef(places[:, 1], liked)[0, 1] >= 0
    assert extremes(taste, features) == (int(liked.argmax()), int(liked.argmin()))
    assert map_places(taste, features[:1]).tolist() == [[0.5, 0.5]]  # one picture is in the middle


def test_the_picture_says_why_of_the_two_ends(taste: Taste, pictures: torch.Tensor, tiny_reward: Any) -> None:
    features = learn([], pictures, tiny_reward, ids=IDS, prompts=[PROMPT] * COUNT, before=taste)[1].double().numpy()
    held, heat = as_pictures(pictures), np.zeros(tuple(pictures.shape[1:3]))
    plain = learned_picture(taste, held, features)
    best, worst = extremes(taste, features)
    said = learned_picture(taste, held, features, [Explained(best, heat), Explained(worst, None)])
    assert said.width == plain.width
    assert said.height > plain.height + 200


def test_marks_are_clicks_on_the_better_among_those_with_less() -> None:
    """Five stars, two stars, a rejection, a pick, nothing: each is picked among what has less and was marked."""
    ids = ["a" * 16, "b" * 16, "c" * 16, "d" * 16, "e" * 16]
    a, b, c, d, e = ids
    found = clicks_of_marks(ids, (5, 2, -1, 0, 0), (False, False, False, True, False))
    assert {(click.picked, frozenset(click.shown)) for click in found} == {
        (a, frozenset({a, b, c})),
        (b, frozenset({b, c})),
        (d, frozenset({a, b, c, d})),
    }
    assert {click.kind for click in found} == {"starred"}
    assert found == clicks_of_marks(ids, (5, 2, -1, 0, 0), (False, False, False, True, False))
    (only,) = clicks_of_marks(ids, (0,) * 5, (True, False, False, False, False))  # a pick alone: among the unmarked
    assert only.picked == a
    assert set(only.shown) == set(ids)
    assert clicks_of_marks(ids, (5, 5, 0, 0, 0), (False,) * 5) == []  # the same stars say nothing


def test_stars_given_anew_replace_what_they_taught(pictures: torch.Tensor, tiny_reward: Any) -> None:
    starred = clicks_of_marks(IDS, (5, 1, *(0,) * (COUNT - 2)), (False,) * COUNT)
    taste = taught(pictures, tiny_reward, [*warm_clicks(pictures, 3), *starred])
    left = without_stars(taste, {IDS[0]})
    assert [answer.click.kind for answer in left.answers] == ["random"] * 3
    assert len(without_stars(taste, {IDS[1]}).answers) == 4  # that one was never the better

"""Load Reward and Combine Rewards through the real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rewards.official_files import imagereward_folder

TINY = {"reward": "tiny-imagereward"}
SMALL, LARGE = {"reward": "jpeg-compressibility"}, {"reward": "jpeg-incompressibility"}


def graph(*rewards: dict[str, Any], **combine: Any) -> dict[str, Any]:
    """Score and rank two flat pictures by one reward, or by several combined."""
    flat = {"width": 64, "height": 64, "batch_size": 1}
    nodes: dict[str, Any] = {
        "1": {"class_type": "EmptyImage", "inputs": {**flat, "color": 0xFF0000}},
        "2": {"class_type": "EmptyImage", "inputs": {**flat, "color": 0x1234AB}},
        "3": {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["2", 0]}},
        "4": {"class_type": "TastemakerPrompts", "inputs": {"text": "a red heart"}},
        "5": {"class_type": "TastemakerScore", "inputs": {"images": ["3", 0], "prompts": ["4", 0]}},
        "6": {"class_type": "TastemakerRank", "inputs": {"scores": ["5", 0], "top_k": 0, "group_by": "all"}},
    }
    for number, reward in enumerate(rewards, 1):
        nodes[f"1{number}"] = {"class_type": "TastemakerLoadReward", "inputs": {"dtype": "auto", **reward}}
    nodes["5"]["inputs"]["reward"] = ["11", 0]
    if combine:
        links = {f"reward_{n}": [f"1{n}", 0] for n in range(1, len(rewards) + 1)}
        weights = {f"weight_{n}": 1.0 for n in (1, 2)}
        inputs = {**weights, "mode": "ranks", "group_by": "prompt", **links, **combine}
        nodes["9"] = {"class_type": "TastemakerCombineRewards", "inputs": inputs}
        nodes["5"]["inputs"]["reward"] = ["9", 0]
    return nodes


def rows(result: Any) -> list[dict[str, Any]]:
    assert result.status == "success", result.error
    return next(o["tastemaker_ranking"] for o in result.outputs.values() if "tastemaker_ranking" in o)


@pytest.fixture
def models(server: Any) -> Iterator[Path]:
    """The host's models/rewards with a small ImageReward in the official layout, under a name of its own too."""
    folder = server.base / "models" / "rewards"
    folder.mkdir(parents=True, exist_ok=True)
    imagereward_folder(folder)
    (folder / "mine.pt").write_bytes((folder / "ImageReward.pt").read_bytes())
    (folder / "mine.json").write_bytes((folder / "ImageReward.json").read_bytes())
    (folder / "notes.txt").write_text("no model", encoding="utf-8")
    yield folder
    for path in folder.iterdir():
        path.unlink()


def test_a_combined_reward_shows_its_parts(client) -> None:
    shown = rows(client.run(graph(TINY, SMALL, mode="ranks", weight_2=0.5)))
    assert [set(row["scores"]) for row in shown] == [{"combined", "tiny-imagereward", "jpeg-compressibility"}] * 2
    for row in shown:
        places = {n: sum(row["scores"][n] > other["scores"][n] for other in shown) for n in row["scores"]}
        ties = {n: sum(row["scores"][n] == other["scores"][n] for other in shown) - 1 for n in row["scores"]}
        want = sum(w * (places[n] + ties[n] / 2) for n, w in (("tiny-imagereward", 1), ("jpeg-compressibility", 0.5)))
        assert row["scores"]["combined"] == pytest.approx(want)


def test_combined_rewards_of_combined_ones_keep_every_total(client, models: Path) -> None:
    """A chain of three: each has a column of its own, and the last one's total ranks."""
    prompt = graph(TINY, SMALL, LARGE, {"reward": "imagereward-v1.0", "dtype": "float32"}, mode="batch", group_by="all")
    del prompt["9"]["inputs"]["reward_3"], prompt["9"]["inputs"]["reward_4"]
    for node, below, reward in (("21", "9", "13"), ("22", "21", "14")):
        inputs = {"reward_1": [below, 0], "weight_1": 2.0, "reward_2": [reward, 0], "weight_2": 0.0}
        inputs |= {"mode": "batch", "group_by": "all"}
        prompt[node] = {"class_type": "TastemakerCombineRewards", "inputs": inputs}
    prompt["5"]["inputs"]["reward"] = ["22", 0]
    shown = rows(client.run(prompt))
    names = ["combined 3", "combined 2", "combined", "tiny-imagereward", "jpeg-compressibility"]
    assert list(shown[0]["scores"]) == [*names, "jpeg-incompressibility", "imagereward-v1.0"]
    assert [row["score"] for row in shown] == [row["scores"]["combined 3"] for row in shown]


def test_opposite_rewards_of_one_weight_cancel(client) -> None:
    shown = rows(client.run(graph(SMALL, LARGE, mode="batch")))
    assert [row["scores"]["combined"] for row in shown] == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize("file", ["auto", "mine.pt"])
def test_imagereward_from_the_models_folder(client, models: Path, file: str) -> None:
    shown = rows(client.run(graph({"reward": "imagereward-v1.0", "file": file, "dtype": "float32"})))
    assert len({row["scores"]["imagereward-v1.0"] for row in shown}) == 2


def test_the_file_list_holds_weight_files_only(client, models: Path) -> None:
    spec = client.get("/object_info/TastemakerLoadReward")["TastemakerLoadReward"]["input"]["optional"]["file"]
    options = spec[1].get("options", spec[0])
    assert {"auto", "ImageReward.pt", "mine.pt"} <= set(options)
    assert not any(name.endswith((".txt", ".json")) for name in options)


def test_a_reward_that_is_not_there_says_how_to_get_it(client) -> None:
    result = client.run(graph({"reward": "pickscore-v1"}))
    assert result.status == "error"
    assert "hf download yuvalkirstain/PickScore_v1" in result.error["exception_message"]


@pytest.mark.parametrize("file", ["../../../etc/passwd", "/etc/passwd", "notes.txt", "..\\x", "", "ImageReward.pt\x00"])
def test_file_values_that_are_not_listed_are_refused(client, models: Path, file: str) -> None:
    assert "no such file" in client.refusal(graph({"reward": "imagereward-v1.0", "file": file}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"mode": "standardised"}, "No mean and standard deviation"), ({"weight_1": 0, "weight_2": 0}, "not 0")],
)
def test_bad_combinations_are_named(client, changes: dict[str, Any], said: str) -> None:
    result = client.run(graph(LARGE, SMALL, **{"mode": "ranks", **changes}))
    assert result.status == "error"
    assert said in result.error["exception_message"]

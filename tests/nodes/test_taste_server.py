"""Learn Taste in a real ComfyUI server: clicks stored, outputs that wait, the taste in Load Reward, hostile values."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ROOT

from .test_vote_server import cast, shown, table
from .test_vote_server import graph as vote_graph

LEARN = {"name": "ann", "clicks_first": 3, "clicks": ""}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own, with a node that makes tables."""
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("tastes")
    (base / "custom_nodes").mkdir()
    shutil.copy(ROOT / "tests" / "nodes" / "votes_pack.py", base / "custom_nodes")
    with ComfyServer(base) as running:
        yield running


def graph(reward: str = "tiny-imagereward", count: int = 12, **changes: Any) -> dict[str, Any]:
    table = {"count": count, "side": 24, "width": 24, "prompts": "a heart", "tint": 0}
    return {
        "1": {"class_type": "TestTwin", "inputs": table},
        "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": reward, "dtype": "auto"}},
        "3": {
            "class_type": "TastemakerLearnTaste",
            "inputs": {"scores": ["1", 0], "reward": ["2", 0]} | LEARN | changes,
        },
        "4": {"class_type": "TastemakerCombineRewards", "inputs": {"mode": "ranks", "group_by": "prompt"}},
        "5": {"class_type": "PreviewAny", "inputs": {"source": ["4", 1]}},
    }


def wired(prompt: dict[str, Any]) -> dict[str, Any]:
    """The same with the taste and the crowd combined, so that something waits for the output."""
    inputs = {"reward_1": ["3", 0], "weight_1": 1.0, "reward_2": ["2", 0], "weight_2": 0.5}
    prompt["4"]["inputs"] |= inputs
    return prompt


def clicked(ids: list[str], count: int) -> str:
    grids = [[ids[k % 4 : k % 4 + 6], ids[k % 4], "telling", k] for k in range(count)]
    return json.dumps({"version": 1, "clicks": grids})


def run(client: Any, prompt: dict[str, Any]) -> Any:
    result = client.run(wired(prompt))
    assert result.status == "success", result.error
    return result


def test_clicks_are_stored_and_the_output_waits_for_them(server: Any, client: Any) -> None:
    first = run(client, graph())
    rows, summary = first.outputs["3"]["tastemaker_taste"], first.outputs["3"]["tastemaker_taste_summary"][0]
    assert "5" not in first.outputs  # no click yet: what is behind waits
    assert client.file(rows[0]["small"])
    assert len(rows[0]["features"]) == len(summary["prior_mean"])
    ids = [row["id"] for row in rows]
    second = run(client, graph(clicks=clicked(ids, 4)))
    summary = second.outputs["3"]["tastemaker_taste_summary"][0]
    assert len(summary["kept"]) == len(summary["answers"]) == 4
    assert "taste ann" in second.outputs["5"]["text"][0]
    third = run(client, graph(clicks=clicked(ids, 5)))  # the first four again: they count once
    assert third.outputs["3"]["tastemaker_taste_summary"][0]["asked"] == 5
    stranger = json.dumps({"version": 1, "clicks": [[["ab" * 8, "cd" * 8], "ab" * 8, "telling", 1]]})
    kept = run(client, graph(clicks=stranger)).outputs["3"]["tastemaker_taste_summary"][0]
    assert kept["kept"] == []
    assert "stay in the node" in kept["notes"][0]


def test_a_model_learns_by_the_gradient_of_a_taste(server: Any, client: Any) -> None:
    ids = [row["id"] for row in run(client, graph(name="eve")).outputs["3"]["tastemaker_taste"]]
    prompt = graph(name="eve", clicks=clicked(ids, 4))
    size = {"epochs": 1, "samples_per_epoch": 8, "steps": 3, "learning_rate": 1e-3, "rank": 4, "seed": 5}
    prompt["4"] = {"class_type": "TastemakerLoadModel", "inputs": {"model": "tiny-sdxl", "dtype": "auto"}}
    prompt["5"] = {
        "class_type": "TastemakerFineTune",
        "inputs": {"model": ["4", 0], "reward": ["3", 0], "prompts": "a heart\na ring", "run_name": "eve"}
        | {"preset": "from settings", "algorithm": "reward_gradient"}
        | size,
    }
    result = client.run(prompt)
    assert result.status == "success", result.error
    (line,) = (server.base / "output/tastemaker/runs/eve/metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["algorithm"] == "reward_gradient"
    assert json.loads(line)["grad_norm"] > 0


def test_load_reward_lists_the_taste_and_says_what_is_missing(server: Any, client: Any) -> None:
    ids = [row["id"] for row in run(client, graph(name="ben")).outputs["3"]["tastemaker_taste"]]
    run(client, graph(name="ben", clicks=clicked(ids, 4)))
    listed = client.get("/object_info/TastemakerLoadReward")["TastemakerLoadReward"]["input"]["required"]["reward"]
    assert "taste: ben" in json.dumps(listed)
    one = {
        "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "taste: ben", "dtype": "auto"}},
        "5": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}},
    }
    result = client.run(one)
    assert "The taste of ben, of 4 clicks" in result.outputs["5"]["text"][0]
    one["2"]["inputs"]["reward"] = "taste: nobody"
    assert "no such taste" in client.refusal(one)


def test_votes_count_as_clicks_on_one_of_two(server: Any, client: Any) -> None:
    """Six pairs of two tables are voted on; both tables are candidates, or only one."""
    first = client.run(vote_graph())
    rows = shown(first)
    votes = [(row["token"], "left" if i else "skip", 1000 + i) for i, row in enumerate(rows)]
    booth = vote_graph(votes=cast(*votes))["3"]
    voted = {
        **graph(name="voter", count=6, scores=["1", 0], more_scores=["9", 0], votes=["3v", 0]),
        "1": table(),
        "9": table(tint=1),
        "3v": {**booth, "inputs": booth["inputs"] | {"before": ["1", 0], "after": ["9", 0]}},
    }
    summary = run(client, voted).outputs["3"]["tastemaker_taste_summary"][0]
    assert len(summary["answers"]) == 5  # the skipped pair says nothing
    assert all(len(answer["features"]) == 2 for answer in summary["answers"])
    assert len(run(client, voted).outputs["3"]["tastemaker_taste_summary"][0]["answers"]) == 5  # they count once
    voted["3"]["inputs"]["name"] = "half a voter"
    del voted["3"]["inputs"]["more_scores"]
    said = run(client, voted).outputs["3"]["tastemaker_taste_summary"][0]
    assert said["answers"] == []
    assert "5 of 5 votes are on pictures that are not here" in said["notes"][0]


@pytest.mark.parametrize("name", ["../x", "a/b", "CON", "", "x" * 65, "a\u202eb"])
def test_hostile_names(client: Any, name: str) -> None:
    assert "name" in client.refusal(wired(graph(name=name)))
    reward = wired(graph())
    reward["2"]["inputs"]["reward"] = f"taste: {name}"
    assert client.refusal(reward)


@pytest.mark.parametrize("clicks", ["[]", "{", '{"version":1,"clicks":[[["../a","b"],"b","telling",1]]}'])
def test_what_is_no_list_of_clicks(client: Any, clicks: str) -> None:
    assert "clicks" in client.refusal(wired(graph(clicks=clicks)))


def test_one_picture_is_refused_in_words(client: Any) -> None:
    assert "at least two" in client.refusal(wired(graph(count=1)))


def test_a_damaged_taste_is_refused_and_stays_as_it_is(server: Any, client: Any) -> None:
    folder = server.output / "tastemaker" / "tastes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broken.safetensors").write_bytes(b"{}")
    assert "broken.safetensors" in client.refusal(wired(graph(name="broken")))
    assert (folder / "broken.safetensors").read_bytes() == b"{}"


def test_stars_count_as_clicks_and_given_anew_they_count_instead(server: Any, client: Any) -> None:
    first = run(client, graph(name="starry"))
    ids = [row["id"] for row in first.outputs["3"]["tastemaker_cull"]]
    only = run(client, graph(name="starry", marks=f"{ids[0]}:5"))
    assert "Stars teach by comparison" in only.outputs["3"]["tastemaker_taste_summary"][0]["notes"][0]
    marks = f"{ids[0]}:5,{ids[1]}:2,{ids[2]}:0x,{ids[3]}:0p"
    rated = run(client, graph(name="starry", marks=marks))
    summary = rated.outputs["3"]["tastemaker_taste_summary"][0]
    assert len(summary["answers"]) == 3  # the best over three, five stars over two, two stars over the rejected one
    assert "5" in rated.outputs  # three clicks are enough
    assert (
        len(run(client, graph(name="starry", marks=marks + " ")).outputs["3"]["tastemaker_taste_summary"][0]["answers"])
        == 3
    )
    less = run(client, graph(name="starry", marks=f"{ids[0]}:1,{ids[1]}:2,{ids[3]}:0p"))
    shown = [row["stars"] for row in less.outputs["3"]["tastemaker_cull"][:4]]
    assert shown == [1, 2, 0, 0]
    assert len(less.outputs["3"]["tastemaker_taste_summary"][0]["answers"]) == 2  # what was over two stars is now below

"""Why This Score in a real ComfyUI server: the best or the asked, in words and maps, by every single reward."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own, with a node that makes tables."""
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("why")
    (base / "custom_nodes").mkdir()
    shutil.copy(ROOT / "tests" / "nodes" / "tables_pack.py", base / "custom_nodes")
    with ComfyServer(base) as running:
        yield running


def graph(table: dict[str, Any] | None = None, **why: Any) -> dict[str, Any]:
    """A table, two rewards as one, and the node behind both."""
    made = {"count": 6, "side": 64, "prompts": "a\nb", "kind": "batch", "columns": 2, "seeds": True, "extras": False}
    both = {"reward_1": ["2", 0], "weight_1": 1.0, "reward_2": ["3", 0], "weight_2": 1.0}
    return {
        "1": {"class_type": "TestTable", "inputs": made | (table or {})},
        "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "tiny-imagereward", "dtype": "float32"}},
        "3": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "tiny-aesthetic", "dtype": "float32"}},
        "4": {"class_type": "TastemakerCombineRewards", "inputs": {"mode": "ranks", "group_by": "prompt"} | both},
        "5": {"class_type": "TastemakerRank", "inputs": {"scores": ["1", 0], "top_k": 2, "group_by": "prompt"}},
        "6": {"class_type": "TastemakerWhy", "inputs": {"scores": ["5", 3], "reward": ["4", 0], "count": 2} | why},
        "7": {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}},
    }


def test_the_best_are_explained_and_then_the_one_that_was_asked_about(client: Any) -> None:
    result = client.run(graph())
    assert result.status == "success", result.error
    shown = result.outputs["6"]["tastemaker_why"]
    assert [row["name"] for row in shown] == ["#1", "#1"]  # the two best by score, of two prompts
    assert [row["fellows"] for row in shown] == [3, 3]
    for row in shown:
        assert [part["reward"] for part in row["parts"]] == ["tiny-imagereward", "tiny-aesthetic"]
        for part in row["parts"]:
            assert part["usual"] is None  # the table has other columns
            effects = [abs(reason["effect"]) for reason in part["reasons"]]
            assert 1 <= len(effects) <= 4
            assert effects == sorted(effects, reverse=True)
            with Image.open(io.BytesIO(client.file(part["heat"]))) as heat:
                assert heat.size == (64, 64)
                assert np.ptp(np.asarray(heat.convert("HSV"))[..., 1].astype(int)) > 20  # grey here, coloured there
    assert len(result.outputs["7"]["images"]) == 4
    ids = [row["id"] for row in result.outputs["5"]["tastemaker_ranking"]]
    asked = client.run(graph(pictures=f"{ids[4]},{'0' * 16}"))
    assert [row["id"] for row in asked.outputs["6"]["tastemaker_why"]] == [ids[4]]
    said = asked.outputs["6"]["tastemaker_report"][0]
    assert "1 that were asked about are not among these pictures" in said
    assert "tiny-aesthetic" in said


def test_with_the_tables_own_reward_it_says_how_far_the_group_is(client: Any) -> None:
    prompt = graph({"prompts": "a red heart"})
    prompt["8"] = {
        "class_type": "TastemakerScore",
        "inputs": {"images": ["9", 0], "reward": ["2", 0], "prompts": "a heart"},
    }
    prompt["9"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 2, "color": 0xCC2030},
    }
    prompt["6"]["inputs"] |= {"scores": ["8", 0], "reward": ["2", 0], "count": 1}
    result = client.run(prompt)
    assert result.status == "success", result.error
    (row,) = result.outputs["6"]["tastemaker_why"]
    assert row["parts"][0]["usual"] == pytest.approx(row["parts"][0]["score"], abs=1e-5)  # both are the same
    assert row["parts"][0]["reasons"] == []
    assert "nothing that has a name moved it" in result.outputs["6"]["tastemaker_report"][0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", 0), ("count", 33), ("pictures", "0" * 90_000), ("scores", "x")],
)
def test_values_that_cannot_be_are_refused_by_name(client: Any, name: str, value: object) -> None:
    prompt = graph(**{"scores": ["1", 0], name: value})
    del prompt["5"]  # no other output, so that nothing else of the prompt runs
    assert name in client.refusal(prompt)


def test_a_reward_that_needs_a_prompt_says_so(client: Any) -> None:
    prompt = graph({"prompts": ""})
    prompt["6"]["inputs"]["reward"] = ["2", 0]
    assert "compares a picture with its prompt" in client.refusal(prompt)

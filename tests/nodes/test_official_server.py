"""A fresh artist's path: models/rewards as the download command leaves it, and the graph from Load Reward to Rank."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tastemaker.rewards.models import _blip as blip
from tests.conftest import OFFICIAL
from tests.nodes.test_reward_server import graph, rows
from tests.rewards.official_files import GOLDEN, golden_state

MED_CONFIG = OFFICIAL / "imagereward" / "med_config.json"
VIT = GOLDEN["config"]["vit"]


def as_wide_as_published(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The text tower and head of the sizes in the official med_config.json, over the small ViT of the goldens."""
    from tastemaker.rewards.models._blip_models import ImageRewardModel, to_official

    with torch.device("meta"):
        shapes = {k: v.shape for k, v in ImageRewardModel(VIT, blip.MED_LARGE).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    small = {"embeddings.position_ids"}
    wide = {k: torch.randn(s, generator=generator) * 0.05 for k, s in shapes.items() if not k.endswith(tuple(small))}
    return {k: state[k] if k.startswith("blip.visual_encoder.") else v for k, v in to_official(wide).items()}


@pytest.fixture
def downloaded(server: Any) -> Iterator[Path]:
    """`hf download THUDM/ImageReward ImageReward.pt med_config.json`: two files, the config's bytes as published.

    Beside them a json with the sizes of the ViT, without which a file is of the official ViT's sizes: 24 layers would
    make the weights 1.2 GB.
    """
    folder = server.base / "models" / "rewards"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(as_wide_as_published(golden_state()), folder / "ImageReward.pt")
    shutil.copy(MED_CONFIG, folder)
    (folder / "ImageReward.json").write_text(json.dumps({"vit": VIT}), encoding="utf-8")
    yield folder
    for path in folder.iterdir():
        path.unlink()


def test_an_official_imagereward_folder_as_downloaded_scores_and_ranks(client: Any, downloaded: Path) -> None:
    digest = hashlib.sha256((downloaded / "med_config.json").read_bytes()).hexdigest()
    assert digest == "d8b5029cc3c0124313d17009d043f0701bbe497f3721fa4ceb818720fe665326"
    shown = rows(client.run(graph({"reward": "imagereward-v1.0"})))
    scores = [row["scores"]["imagereward-v1.0"] for row in shown]
    assert len(scores) == len(set(scores)) == 2
    assert scores == sorted(scores, reverse=True)  # best first
    assert [row["rank"] for row in shown] == [1, 2]

"""Rewards from folders as their download commands leave them, with the published configs' own bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from tastemaker.rewards import load_reward
from tests.conftest import GOLDENS, OFFICIAL
from tests.rewards.official_files import (
    GOLDEN,
    PICTURES,
    PROMPTS,
    aesthetic_folder,
    blip_folder,
    imagereward_folder,
    small_clip,
)

MED_CONFIG = OFFICIAL / "imagereward" / "med_config.json"


def test_the_config_is_the_published_one() -> None:
    digest = hashlib.sha256(MED_CONFIG.read_bytes()).hexdigest()
    assert digest == "d8b5029cc3c0124313d17009d043f0701bbe497f3721fa4ceb818720fe665326"
    assert json.loads(MED_CONFIG.read_text())["encoder_width"] == 768  # and the ViT's width is 1024


@pytest.mark.parametrize("width", [768, None], ids=["another width", "no width"])
def test_the_picture_is_as_wide_as_the_vit_whatever_the_config_says(tmp_path: Path, width: int | None) -> None:
    """As published: `encoder_width` is of no ViT there is, and the reference replaces it."""
    for folder in (imagereward_folder, blip_folder):
        folder(tmp_path)
    med = {k: v for k, v in GOLDEN["config"]["med"].items() if k != "encoder_width"}
    med |= {} if width is None else {"encoder_width": width}
    assert width != GOLDEN["config"]["vit"]["width"]
    (tmp_path / "med_config.json").write_text(json.dumps(med), encoding="utf-8")
    pictures, names = [Image.open(p) for p in PICTURES], [p.relative_to(GOLDENS).as_posix() for p in PICTURES]
    reward, blip = (load_reward(name, source=tmp_path) for name in ("imagereward-v1.0", "blip-score"))
    for prompt in PROMPTS:
        want = [GOLDEN["rewards"][prompt][name] for name in names]
        assert reward.picture_score(pictures, [prompt] * len(pictures)).tolist() == pytest.approx(want, abs=1e-4)
    for prompt, wanted in GOLDEN["blip_score"].items():
        got = blip.picture_score(pictures, [prompt] * len(pictures)).tolist()
        assert got == pytest.approx([wanted[name] for name in names], abs=1e-4)


def test_rewards_load_from_the_format_before_pytorch_1_6(tmp_path: Path) -> None:
    """BLIP's files may be of it; the same scores, bit by bit."""
    imagereward_folder(tmp_path)
    blip_folder(tmp_path)
    clip, config = small_clip("quick_gelu", projection_dim=768)
    aesthetic_folder(tmp_path, clip, config)
    names = ("imagereward-v1.0", "blip-score", "aesthetic-v2")
    pictures = [Image.open(p) for p in PICTURES[:2]]

    def scores() -> list[torch.Tensor]:
        return [load_reward(name, source=tmp_path).picture_score(pictures, PROMPTS[:1] * 2) for name in names]

    wanted = scores()
    for name in ("ImageReward.pt", "model_large.pth", "sac+logos+ava1-l14-linearMSE.pth"):
        state = torch.load(tmp_path / name, map_location="cpu", weights_only=True)
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=False)
        assert (tmp_path / name).read_bytes()[:2] != b"PK"
    assert all(torch.equal(*pair) for pair in zip(wanted, scores(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imagereward-v1.0", "blip-score"])
def test_full_size_files_beside_the_published_config_load(tmp_path: Path, name: str) -> None:
    """Every key and shape of the official checkpoint, in files with holes in place of the numbers."""
    shapes = json.loads((GOLDENS / "imagereward_keys.json").read_text(encoding="utf-8"))
    state = {key: torch.empty(shape) for key, shape in shapes.items()}
    blip = {key.removeprefix("blip."): value for key, value in state.items() if key.startswith("blip.")}
    shutil.copy(MED_CONFIG, tmp_path)
    with torch.serialization.skip_data():
        torch.save(state, tmp_path / "ImageReward.pt")
        torch.save({"model": blip}, tmp_path / "model_large.pth")
    reward = load_reward(name, source=tmp_path, dtype=torch.bfloat16)
    width = reward.modules["network"].text.encoder.layer[0].crossattention.self.key.in_features
    assert width == reward.modules["network"].vision.config.hidden_size == 1024

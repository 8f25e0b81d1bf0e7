"""ImageReward and BLIP score from the official files' layouts, against the reference implementation's numbers."""

from __future__ import annotations

import hashlib
import json
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tastemaker.images.convert import from_pil
from tastemaker.loaders import ModelFileError
from tastemaker.loaders.convert import to_safetensors
from tastemaker.ranking import inference_rank, score
from tastemaker.rewards import load_reward
from tastemaker.rewards.models._text import bert_texts
from tastemaker.rewards.models.preprocess import CLIP_MEAN, CLIP_STD, pil_pixels
from tests.conftest import GOLDENS
from tests.rewards.official_files import (
    GOLDEN,
    PICTURES,
    PROMPTS,
    blip_folder,
    golden_state,
    imagereward_folder,
    write_sizes,
)

NAMES = list(GOLDEN["rewards"][""])
OCEAN = [GOLDENS / name for name in GOLDEN["ranking"]["images"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagereward_folder(tmp_path_factory.mktemp("rewards"))


@pytest.fixture(scope="module")
def reward(folder: Path):
    return load_reward("imagereward-v1.0", source=folder)


@pytest.mark.parametrize("prompt", GOLDEN["rewards"], ids=lambda p: p[:20] or "empty")
def test_every_picture_and_prompt_equals_the_reference(reward, prompt: str) -> None:
    want = torch.tensor([GOLDEN["rewards"][prompt][name] for name in NAMES])
    got = reward.picture_score([Image.open(p) for p in PICTURES], [prompt] * len(PICTURES))
    assert (got - want).abs().max() <= 1e-4


def test_images_in_a_batch_equal_the_files(reward) -> None:
    opaque = [p for p in PICTURES if "rgba" not in p.name]  # IMAGE tensors hold no transparency
    images = [from_pil(Image.open(p)) for p in opaque]
    got = [reward(image, PROMPTS[0]).item() for image in images]
    want = reward.picture_columns(opaque, PROMPTS[0])[reward.name].tolist()
    assert got == pytest.approx(want, abs=1e-4)


def test_the_published_example(reward) -> None:
    prompt = GOLDEN["ranking"]["prompt"]
    ranking, rewards = inference_rank(reward, prompt, OCEAN)
    assert ranking == GOLDEN["ranking"]["ranking"]
    assert rewards == pytest.approx(GOLDEN["ranking"]["rewards"], abs=1e-4)
    assert score(reward, prompt, OCEAN[1]) == pytest.approx(GOLDEN["ranking"]["rewards"][1], abs=1e-4)
    assert score(reward, prompt, OCEAN[:2]) == pytest.approx(GOLDEN["ranking"]["rewards"][:2], abs=1e-4)


@pytest.mark.parametrize("prompt", GOLDEN["input_ids"], ids=lambda p: p[:20] or "empty")
def test_token_ids_equal_the_reference(prompt: str) -> None:
    ids, mask = bert_texts()([prompt])
    assert ids.tolist() == [GOLDEN["input_ids"][prompt]]
    assert mask.tolist() == [[int(i != 0) for i in GOLDEN["input_ids"][prompt]]]


def test_blips_own_tokens_are_one_piece_each() -> None:
    assert bert_texts().tokenizer("[DEC] [ENC]").input_ids == [101, 30522, 30523, 102]


@pytest.mark.parametrize(
    ("name", "digest"),  # of goldens/imagereward_pixels.safetensors: what the reference's own code made of them
    [
        ("ocean/1.webp", "ccc94c2828fc7bd7522a09fba2d371670016d590078b35416e6fa888418be0e2"),
        ("small.png", "c871be740c7c025e2a55e1a3d7bfe675bcd70aab7d7c765208d8e530824022da"),
        ("wide.png", "313aeede6e2daa8d9222360365e5b9cd8842c4c8b0fc8c6aeb9037235636dc85"),
    ],
)
def test_pixels_are_bit_equal_to_the_reference(name: str, digest: str) -> None:
    pixels = pil_pixels([Image.open(GOLDENS / name)], 224, CLIP_MEAN, CLIP_STD)[0].contiguous()
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest() == digest


def test_converted_to_safetensors_it_scores_the_same_bits(reward, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    made = to_safetensors(tmp_path / "ImageReward.pt")
    assert made.name == "ImageReward.safetensors"
    (tmp_path / "ImageReward.pt").unlink()
    again = load_reward("imagereward-v1.0", source=tmp_path)
    columns = [r.picture_columns(PICTURES, PROMPTS[0])[r.name] for r in (reward, again)]
    assert torch.equal(*columns)


# Random weights spread the scores over some 17 units, so the bounds are shares of that: what half a number's
# digits (8 bits: 0.4% a rounding; 11 bits: 0.05%) leave after the network's roundings, measured 3.9% and 0.5%.
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_stays_near_and_in_order(reward, folder: Path, dtype: torch.dtype, bound: float) -> None:
    half = load_reward("imagereward-v1.0", source=folder, dtype=dtype)
    for prompt in PROMPTS:
        want = reward.picture_columns(OCEAN, prompt)[reward.name]
        got = half.picture_columns(OCEAN, prompt)[half.name]
        assert (got - want).abs().max() <= bound * (want.max() - want.min())
        assert got.argsort().tolist() == want.argsort().tolist()
    assert half.modules["network"].mlp[0].weight.dtype == torch.float32
    assert half.fingerprint != reward.fingerprint


def test_the_fingerprint_tells_weights_apart(reward, folder: Path, tmp_path: Path) -> None:
    assert load_reward("imagereward-v1.0", source=folder / "ImageReward.pt").fingerprint == reward.fingerprint
    state = golden_state()
    state["mlp.layers.7.bias"] = state["mlp.layers.7.bias"] + 1
    torch.save(state, tmp_path / "ImageReward.pt")
    write_sizes(tmp_path, "ImageReward")
    assert load_reward("imagereward-v1.0", source=tmp_path).fingerprint != reward.fingerprint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("mlp.layers.0.bias"), "missing mlp.0.bias"),
        (lambda s: s.update({"mlp.layers.9.bias": torch.zeros(1)}), "unexpected mlp.9.bias"),
        (lambda s: s.update({"mlp.layers.0.bias": torch.zeros(3)}), "mlp.0.bias has shape"),
        (lambda s: s["mlp.layers.0.bias"].fill_(float("nan")), "NaN"),
    ],
)
def test_keys_are_strict(tmp_path: Path, change, said: str) -> None:
    state = {k: v.clone() for k, v in golden_state().items()}
    change(state)
    torch.save(state, tmp_path / "ImageReward.pt")
    write_sizes(tmp_path, "ImageReward")
    with pytest.raises(ModelFileError, match=said):
        load_reward("imagereward-v1.0", source=tmp_path)


class _Program:
    def __reduce__(self):
        return (print, ("this ran",))


def _page(path: Path) -> None:
    path.write_text("<html>", encoding="utf-8")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda p: torch.save({"a": _Program()}, p), "more than tensors"),
        (lambda p: torch.save([1, 2], p), "not a state dict"),
        (lambda p: p.write_bytes(b""), "not a PyTorch file"),
        (_page, "not a PyTorch file"),
        (lambda p: save_file({"a": torch.zeros(1)}, p), "safetensors file under another name"),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, capsys, write, said: str) -> None:
    write(tmp_path / "ImageReward.pt")
    with pytest.raises(ModelFileError, match=said):
        load_reward("imagereward-v1.0", source=tmp_path)
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "sizes", [{"vit": {"depth": 10**6}}, {"vit": []}, {"vit": {**GOLDEN["config"]["vit"], "depth": 65}}]
)
def test_hostile_sizes_are_refused(folder: Path, tmp_path: Path, sizes: dict) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "ImageReward.json").write_text(json.dumps(sizes), encoding="utf-8")
    with pytest.raises(ModelFileError, match="ViT|vit"):
        load_reward("imagereward-v1.0", source=tmp_path)


def test_a_missing_file_is_named_with_the_command_that_gets_it(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"hf download THUDM/ImageReward ImageReward.pt med_config.json"):
        load_reward("imagereward-v1.0", source=tmp_path)
    with pytest.raises(ModelFileError, match="hf download"):  # a host's list of folders, not made yet
        load_reward("imagereward-v1.0", source=[tmp_path / "nowhere"])
    with pytest.raises(ModelFileError, match="no nowhere"):
        load_reward("imagereward-v1.0", source=tmp_path / "nowhere")


# --- BLIP score -------------------------------------------------------------------------------


def test_blip_score_equals_the_reference(tmp_path: Path) -> None:
    blip = load_reward("blip-score", source=blip_folder(tmp_path))
    for prompt, (name, path) in product(GOLDEN["blip_score"], zip(NAMES, PICTURES, strict=True)):
        got = blip.picture_score([Image.open(path)], [prompt]).item()
        assert got == pytest.approx(GOLDEN["blip_score"][prompt][name], abs=1e-4), (prompt, name)


def test_blip_files_without_their_entry_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "model_large.pth")
    with pytest.raises(ModelFileError, match="'model'"):
        load_reward("blip-score", source=tmp_path)

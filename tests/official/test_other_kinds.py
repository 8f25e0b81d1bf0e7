"""Official rewards, Inception files, LoRAs and protocol files through the product's own doors."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.acceptance.found import published
from tastemaker.evaluation.fid.inception import Inception
from tastemaker.evaluation.fid.inception_file import FILE_NAMES, find_inception, load_inception
from tastemaker.evaluation.protocols import read_protocol
from tastemaker.loaders import ModelFileError, read_lora
from tastemaker.loaders.layout.open_clip import from_open_clip
from tastemaker.rewards import REWARDS as KNOWN
from tastemaker.rewards.models import _blip as blip
from tastemaker.rewards.models import _blip_models as models
from tastemaker.rewards.models import _clip as clip
from tests.loaders.lora_files import write
from tests.official.make import write_hollow
from tests.official.manifest import Official
from tests.official.other_kinds import INCEPTION, LORAS, OTHERS, PROTOCOLS, REWARDS


def names(officials: tuple[Official, ...]) -> Any:
    return pytest.mark.parametrize("official", officials, ids=lambda official: official.name)


def shapes_of(official: Official) -> dict[str, tuple[int, ...]]:
    """Name -> shape of its tensors: as listed, or as the library that defines them makes them."""
    if "open_clip" in official.expected:
        open_clip = pytest.importorskip("open_clip")
        config = open_clip.get_model_config(official.expected["open_clip"])
        with torch.device("meta"):
            made = open_clip.model.CLIP(**{k: config[k] for k in ("embed_dim", "vision_cfg", "text_cfg")})
    elif "transformers" in official.expected:
        made = clip_of(official)
    else:
        return dict(official.tensors)
    return {k: tuple(v.shape) for k, v in made.state_dict().items()}


def clip_of(official: Official) -> torch.nn.Module:
    from transformers import CLIPConfig, CLIPModel

    with torch.device("meta"):
        return CLIPModel(CLIPConfig(**getattr(clip, official.expected["transformers"])))


def network_of(official: Official) -> torch.nn.Module:
    """Our module for the file, on the meta device, of the sizes that its own config says."""
    med = official.files.get("med_config.json")
    sizes = {key: med[key] for key in blip.MED_LARGE} if med else {}
    with torch.device("meta"):
        if official.expected["reward"] == "imagereward-v1.0":
            return models.ImageRewardModel(blip.VIT_LARGE, sizes)
        if official.expected["reward"] == "blip-score":
            return models.BlipScoreModel(blip.VIT_LARGE, sizes)
        if official.expected["reward"] == "aesthetic-v2":
            return models.reward_mlp(768)
        from transformers import CLIPConfig, CLIPModel

        return CLIPModel(CLIPConfig(**(clip.CLIP_H if official.expected["reward"] != "clip-score" else clip.CLIP_L)))


def renamed(official: Official, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    rename = {
        "imagereward-v1.0": models.ImageRewardModel.from_official,
        "blip-score": models.BlipScoreModel.from_official,
    }
    rename["aesthetic-v2"] = lambda key: key.removeprefix("layers.")
    if official.expected["reward"] in rename:
        pairs = ((rename[official.expected["reward"]](key), shape) for key, shape in shapes.items())
        return {key: shape for key, shape in pairs if key is not None}
    if "open_clip" in official.expected:
        tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
        return {key: tuple(value.shape) for key, value in from_open_clip(tensors).items()}
    return shapes


@names(REWARDS)
def test_a_reward_file_is_whole_by_its_published_names(official: Official) -> None:
    wanted = {k: tuple(v.shape) for k, v in network_of(official).state_dict().items() if "position_ids" not in k}
    found = {k: v for k, v in renamed(official, shapes_of(official)).items() if "position_ids" not in k}
    assert found == wanted


@names(REWARDS)
def test_a_reward_is_looked_for_under_its_published_name(official: Official, tmp_path: Path) -> None:
    place = tmp_path / official.name
    if place.suffix in (".pt", ".pth"):
        place.write_bytes(b"x")
    else:
        place.mkdir()
        (place / "config.json").write_text("{}")
    known = KNOWN[official.expected["reward"]].files[0]
    assert known.find([tmp_path]) == place
    assert official.repository in known.command or "/BLIP/" in known.command


@names(tuple(official for official in REWARDS if official.weights))
def test_a_reward_file_is_as_large_as_the_published_one(official: Official, tmp_path: Path) -> None:
    """Written with holes in place of the numbers: a layer too many or too few would show."""
    ((file, size),) = official.weights.items()
    if file.endswith(".safetensors"):
        written = write_hollow(tmp_path / file, shapes_of(official), width=4)
    else:
        written = tmp_path / file
        state: dict[str, Any] = {key: torch.empty(shape) for key, shape in shapes_of(official).items()}
        with torch.serialization.skip_data():
            torch.save(state, written)
    assert abs(written.stat().st_size - size) < 400_000


@names(INCEPTION)
def test_an_inception_file_loads_under_its_published_name(official: Official, tmp_path: Path) -> None:
    state = OrderedDict((k, torch.ones_like(v)) for k, v in Inception().state_dict().items())
    assert len(state) == official.expected["tensors"]
    torch.save(state, tmp_path / official.name, _use_new_zipfile_serialization=False)
    assert abs((tmp_path / official.name).stat().st_size - official.weights[official.name]) < 10_000
    assert official.name in FILE_NAMES
    assert isinstance(load_inception(find_inception([tmp_path])), Inception)


@names(LORAS)
def test_a_lora_is_of_its_kind_on_its_layer(official: Official, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in official.tensors.items()}
    if "bundled" in official.name:
        tensors["bundle_emb.word.clip_l"] = torch.randn(2, 768)
    path = write(tmp_path / "one.safetensors", tensors)
    if "refused" in official.expected:
        with pytest.raises(ModelFileError, match=official.expected["refused"]):
            read_lora(path)
        return
    lora = read_lora(path)
    flat = {(part, path.removeprefix("text_model.").replace(".", "_")) for part, path in official.expected}
    found = {(part, name.removeprefix("text_model_")) for part, name in lora.layers}
    assert found == flat
    (kind,) = official.expected.values()
    assert kind.lower() in lora.summary().lower(), lora.summary()


@names(PROTOCOLS)
def test_a_protocol_is_read_from_its_published_file(official: Official, tmp_path: Path) -> None:
    for place, content in official.files.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(json.dumps(content))
    for place, data in official.extra.items():
        (tmp_path / place).write_bytes(data)
    row = read_protocol(official.expected["protocol"], tmp_path)[0]
    assert (row.prompt, row.category or "", row.picture or "") == official.expected["first"]


def test_sizes_are_those_of_the_list_of_hashes() -> None:
    sizes = {(line.repository, line.file): line.size for line in published()}
    for official in OTHERS:
        for file, size in official.weights.items():
            assert sizes[official.repository, file] == size, file

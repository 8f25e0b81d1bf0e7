"""CLIP score, PickScore, HPS and the aesthetic score on small random models, against their own libraries."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tastemaker.core.assets import asset_folder
from tastemaker.images.folder import read_folder
from tastemaker.loaders import InputError, ModelFileError
from tastemaker.loaders.layout.open_clip import from_open_clip
from tastemaker.ranking.scoring import score_pictures
from tastemaker.rewards import load_reward
from tastemaker.rewards.models._clip import CLIP_H, CLIP_L
from tests.rewards.official_files import (
    HEAD,
    PICTURES,
    PROMPTS,
    SMALL_CLIP,
    aesthetic_folder,
    clip_folder,
    small_clip,
)

SHORT = [PROMPTS[0], "a photo of a cat", "Caf\u00e9, 3 stars; don't!"]
LONG = "word " * 200


def pictures() -> list[Image.Image]:
    """Opaque ones: the libraries' processors read transparency in other ways."""
    return [Image.open(p).convert("RGB") for p in PICTURES]


def processor_pixels() -> torch.Tensor:
    """What transformers' own CLIP processor makes of the pictures."""
    from transformers import CLIPImageProcessor

    try:
        from transformers import CLIPImageProcessorPil as Processor  # what Pillow does; transformers 5
    except ImportError:
        Processor = CLIPImageProcessor
    return Processor()(pictures(), return_tensors="pt").pixel_values


def openai_pixels() -> torch.Tensor:
    """What OpenAI's CLIP makes of the pictures (clip.py, `_transform`)."""
    T = pytest.importorskip("torchvision.transforms")
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    steps = [T.Resize(224, T.InterpolationMode.BICUBIC), T.CenterCrop(224), T.ToTensor(), T.Normalize(mean, std)]
    return torch.stack([T.Compose(steps)(picture) for picture in pictures()])


def tokens(prompts: list[str]) -> dict[str, torch.Tensor]:
    from transformers import CLIPTokenizerFast

    folder = asset_folder("clip-tokenizer")
    tokenizer = CLIPTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    return dict(tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"))


def transformers_cosines(model: torch.nn.Module, prompt: str) -> torch.Tensor:
    """Cosines by CLIPModel's own forward, its scale taken out again."""
    with torch.no_grad():
        output = model(pixel_values=openai_pixels(), **tokens([prompt]))
    return output.logits_per_image[:, 0] / model.logit_scale.exp()


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_clip_score_equals_transformers(tmp_path: Path, act: str) -> None:
    model, config = small_clip(act)
    reward = load_reward("clip-score", source=clip_folder(tmp_path / "clip-vit-large-patch14", model, config).parent)
    for prompt in (*SHORT, LONG):
        got = reward.picture_columns(pictures(), prompt)["clip-score"]
        assert (got - transformers_cosines(model, prompt)).abs().max() <= 1e-4
    assert got.std() > 1e-3  # the pictures are told apart


def test_pickscore_equals_transformers(tmp_path: Path) -> None:
    model, config = small_clip()
    model.logit_scale.data.fill_(math.log(100))
    reward = load_reward("pickscore-v1", source=clip_folder(tmp_path / "PickScore_v1", model, config).parent)
    for prompt in SHORT:
        with torch.no_grad():
            want = model(pixel_values=processor_pixels(), **tokens([prompt])).logits_per_image[:, 0]
        got = reward.picture_columns(pictures(), prompt)["pickscore-v1"]
        assert (got - want).abs().max() <= 1e-4 * 100  # 1e-4 of a cosine
    many = reward.picture_columns(pictures()[:3], SHORT)["pickscore-v1"]
    each = [reward.picture_columns([p], t)["pickscore-v1"].item() for p, t in zip(pictures()[:3], SHORT, strict=True)]
    assert many.tolist() == pytest.approx(each, abs=1e-3)


def stored_otherwise(folder: Path) -> list[Path]:
    """One picture as files of every mode a PNG has, the transparent ones with colours below their transparency."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (9, 11, 4), dtype=np.uint8)).resize((300, 260))
    made = {"RGBA": smooth, "LA": smooth.convert("LA"), "RGB": smooth.convert("RGB"), "L": smooth.convert("L")}
    made |= {"P": smooth.convert("RGB").quantize(13), "1": smooth.convert("L").convert("1")}
    for mode, picture in made.items():
        assert picture.mode == mode
        picture.save(folder / f"{mode}.png")
    return [folder / f"{mode}.png" for mode in made]


def test_pickscore_of_files_of_every_mode_equals_transformers(tmp_path: Path) -> None:
    """Its processor makes RGB first. Transparency is dropped, as in the transformers of PickScore's time: since 5 they
    put white behind it."""
    from transformers import CLIPImageProcessor

    try:
        from transformers import CLIPImageProcessorPil as Processor
    except ImportError:
        Processor = CLIPImageProcessor
    model, config = small_clip()
    model.logit_scale.data.fill_(math.log(100))
    source = clip_folder(tmp_path / "PickScore_v1", model, config).parent
    reward, files = load_reward("pickscore-v1", source=source), stored_otherwise(tmp_path)
    opened = [Image.open(path) for path in files]
    opaque = [picture.convert("RGB") if "A" in picture.mode else picture for picture in opened]
    with torch.no_grad():
        pixels = Processor()(opaque, return_tensors="pt").pixel_values
        want = model(pixel_values=pixels, **tokens([SHORT[1]])).logits_per_image[:, 0]
    assert (reward.picture_columns(files, SHORT[1])["pickscore-v1"] - want).abs().max() <= 1e-4 * 100
    last = load_reward("clip-score", source=source / "PickScore_v1").picture_columns(files, SHORT[1])["clip-score"]
    assert ((100 * last - want).abs() > 1e-3).tolist() == [True, True, False, False, True, True]  # so the order counts


@pytest.mark.parametrize("name", ["pickscore-v1", "clip-score"])
def test_files_of_a_folder_score_as_they_do_one_by_one(tmp_path: Path, name: str) -> None:
    model, config = small_clip()
    reward = load_reward(name, source=clip_folder(tmp_path / "PickScore_v1", model, config))
    files = stored_otherwise(tmp_path)
    found = read_folder(tmp_path, default_prompt=SHORT[1])
    table = score_pictures(found.pictures, found.prompts, reward).table
    want = dict(zip([p.name for p in files], reward.picture_columns(files, SHORT[1])[name].tolist(), strict=True))
    got = {found.pictures.name(i): score for i, score in enumerate(table.scores[name].tolist())}
    assert got == pytest.approx(want, abs=1e-5)


def test_aesthetic_equals_its_definition(tmp_path: Path) -> None:
    model, config = small_clip("quick_gelu", projection_dim=768)
    reward = load_reward("aesthetic-v2", source=aesthetic_folder(tmp_path, model, config))
    state = torch.load(HEAD, map_location="cpu", weights_only=True)
    with torch.no_grad():
        seen = model.visual_projection(model.vision_model(pixel_values=openai_pixels()).pooler_output)
        x = seen / seen.norm(dim=-1, keepdim=True)
        for layer in (0, 2, 4, 6, 7):  # the published class: five linear layers, dropout between
            x = F.linear(x, state[f"layers.{layer}.weight"], state[f"layers.{layer}.bias"])
    got = reward.picture_columns(pictures(), "")["aesthetic-v2"]
    assert (got - x[:, 0]).abs().max() <= 1e-4
    assert not reward.needs_prompt
    assert "text_model" not in "".join(reward.modules["network"].state_dict())


def _linear(*sizes: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.zeros(*sizes), "bias": torch.zeros(sizes[0])}


def _relu_head() -> dict[str, torch.Tensor]:
    """Layers 0, 3, 6, 9 and 11: an activation and a dropout behind the first three, an activation behind the fourth."""
    sizes = [(1024, 768), (128, 1024), (64, 128), (16, 64), (1, 16)]
    layers = zip((0, 3, 6, 9, 11), sizes, strict=True)
    return {f"layers.{i}.{key}": value for i, size in layers for key, value in _linear(*size).items()}


@pytest.mark.parametrize(
    ("name", "state", "said"),
    [
        ("sa_0_4_vit_l_14_linear.pth", _linear(1, 768), "first aesthetic predictor"),
        ("ava+logos-l14-reluMSE.pth", _relu_head(), "reluMSE"),
        ("something.pth", {"conv.weight": torch.zeros(2, 2)}, "no aesthetic head"),
    ],
)
def test_another_head_is_named_and_the_wanted_one_too(tmp_path: Path, name: str, state: dict, said: str) -> None:
    model, config = small_clip("quick_gelu", projection_dim=768)
    folder = aesthetic_folder(tmp_path, model, config)
    torch.save(state, folder / name)
    with pytest.raises(ModelFileError, match=rf"(?s){said}.*sac\+logos\+ava1-l14-linearMSE\.pth.*curl"):
        load_reward("aesthetic-v2", source=[folder / name, folder])


def test_a_clip_of_another_width_is_named(tmp_path: Path) -> None:
    model, config = small_clip("quick_gelu", projection_dim=48)
    with pytest.raises(ModelFileError, match="embeddings of 768 numbers, and the CLIP model makes 48"):
        load_reward("aesthetic-v2", source=aesthetic_folder(tmp_path, model, config))


# --- HPS v2.1 and OpenCLIP --------------------------------------------------------------------


def open_clip_model() -> torch.nn.Module:
    model = pytest.importorskip("open_clip.model")
    vision, text = SMALL_CLIP["vision_config"], SMALL_CLIP["text_config"]
    torch.manual_seed(0)
    made = model.CLIP(
        SMALL_CLIP["projection_dim"],
        model.CLIPVisionCfg(
            layers=vision["num_hidden_layers"],
            width=vision["hidden_size"],
            head_width=vision["hidden_size"] // vision["num_attention_heads"],
            patch_size=vision["patch_size"],
            image_size=vision["image_size"],
        ),
        model.CLIPTextCfg(width=text["hidden_size"], heads=1, layers=text["num_hidden_layers"]),
    ).eval()
    for parameter in made.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.08)
    return made


def hps_pixels(picture: Image.Image) -> torch.Tensor:
    """The published preprocessing, in torchvision's words (hpsv2 1.2.0, `ResizeMaxSize`)."""
    T = pytest.importorskip("torchvision.transforms.functional")
    pixels = T.to_tensor(picture)
    scale = 224 / max(pixels.shape[1:])
    if scale != 1.0:
        size = [round(side * scale) for side in pixels.shape[1:]]
        pixels = T.resize(pixels, size, T.InterpolationMode.BICUBIC, antialias=True)
        high, wide = 224 - size[0], 224 - size[1]
        pixels = T.pad(pixels, [wide // 2, high // 2, wide - wide // 2, high - high // 2], fill=0)
    return T.normalize(pixels, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def hps_folder(folder: Path, model: torch.nn.Module) -> Path:
    """`HPS_v2.1_compressed.pt` as a training run saves it, and the small model's sizes."""
    torch.save({"epoch": 1, "name": "x", "state_dict": model.state_dict()}, folder / "HPS_v2.1_compressed.pt")
    (folder / "HPS_v2.1_compressed.json").write_text(json.dumps(SMALL_CLIP), encoding="utf-8")
    return folder


def test_hps_equals_open_clip(tmp_path: Path) -> None:
    model = open_clip_model()
    import open_clip

    reward = load_reward("hps-v2.1", source=hps_folder(tmp_path, model))
    pixels = torch.stack([hps_pixels(p) for p in pictures()])
    for prompt in (*SHORT, LONG):
        with torch.no_grad():
            image = model.encode_image(pixels, normalize=True)
            text = model.encode_text(open_clip.get_tokenizer("ViT-H-14")([prompt]), normalize=True)
        got = reward.picture_columns(pictures(), prompt)["hps-v2.1"]
        assert (got - (image @ text.T)[:, 0]).abs().max() <= 1e-4
    assert got.std() > 1e-3


def test_hps_from_images_is_the_same(tmp_path: Path) -> None:
    reward = load_reward("hps-v2.1", source=hps_folder(tmp_path, open_clip_model()))
    picture = pictures()[0]
    image = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]
    assert reward(image, "a").item() == pytest.approx(
        reward.picture_columns([picture], "a")["hps-v2.1"].item(), abs=1e-6
    )


@pytest.mark.parametrize(("name", "sizes"), [("ViT-L-14", CLIP_L), ("ViT-H-14", CLIP_H)])
def test_full_size_open_clip_keys_and_shapes_fit(name: str, sizes: dict) -> None:
    open_clip = pytest.importorskip("open_clip")
    from transformers import CLIPConfig, CLIPModel

    with torch.device("meta"):
        theirs = open_clip.model.CLIP(**{k: v for k, v in open_clip.get_model_config(name).items() if k in _PARTS})
        ours = CLIPModel(CLIPConfig(**sizes))
    renamed = from_open_clip(theirs.state_dict())
    wanted = {k: v.shape for k, v in ours.state_dict().items() if not k.endswith("position_ids")}
    assert {k: v.shape for k, v in renamed.items()} == wanted


_PARTS = ("embed_dim", "vision_cfg", "text_cfg")


def test_hps_files_without_their_entry_are_refused(tmp_path: Path) -> None:
    torch.save({"weights": {}}, tmp_path / "HPS_v2.1_compressed.pt")
    with pytest.raises(ModelFileError, match="'state_dict'"):
        load_reward("hps-v2.1", source=tmp_path)


# --- what they have in common -----------------------------------------------------------------


def test_long_prompts_are_announced(tmp_path: Path, caplog) -> None:
    model, config = small_clip()
    reward = load_reward("clip-score", source=clip_folder(tmp_path / "clip-vit-large-patch14", model, config))
    reward.picture_columns(pictures()[:1], LONG)
    assert "only the first 75 of the 200 tokens" in caplog.text


def test_a_prompt_is_needed(tmp_path: Path) -> None:
    model, config = small_clip()
    reward = load_reward("pickscore-v1", source=clip_folder(tmp_path / "PickScore_v1", model, config))
    with pytest.raises(InputError, match="has none"):
        reward(torch.rand(1, 8, 8, 3), "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["text_config"].update(hidden_act="exec"), "activation"),
        (lambda c: c.update(model_type="siglip"), "not describe a CLIP"),
        (lambda c: c["vision_config"].update(num_hidden_layers=10**6), "num_hidden_layers"),
        (lambda c: c["vision_config"].update(num_hidden_layers=3), "missing"),
        (lambda c: c["vision_config"].update(num_attention_heads="many"), "no size of a CLIP"),
        (lambda c: c["vision_config"].update(num_attention_heads=0), "no size of a CLIP"),
        (lambda c: c["vision_config"].update(num_attention_heads=7), "not describe a CLIP"),
    ],
)
def test_hostile_configs_are_refused(tmp_path: Path, change, said: str) -> None:
    model, config = small_clip()
    change(config)
    folder = clip_folder(tmp_path / "clip-vit-large-patch14", model, config)
    with pytest.raises(ModelFileError, match=said):
        load_reward("clip-score", source=folder)


# --- JPEG -------------------------------------------------------------------------------------


def test_jpeg_is_the_size_of_the_file() -> None:
    small, large = load_reward("jpeg-compressibility"), load_reward("jpeg-incompressibility")
    flat = torch.full((1, 64, 64, 3), 0.5)
    noise = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    for image in (flat, noise):
        buffer = io.BytesIO()
        Image.fromarray((image[0] * 255).round().byte().numpy()).save(buffer, "JPEG", quality=95)
        assert large(image, "").item() == pytest.approx(len(buffer.getvalue()) / 1000)
        assert small(image, "").item() == -large(image, "").item()
    assert large(noise, "") > large(flat, "")
    assert small.fingerprint != large.fingerprint
    assert not small.differentiable
    with pytest.raises(InputError, match="no gradients"):
        small.with_gradient(flat, "")

"""Rewards against the numbers their authors published, or against other people's code on the same weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from scripts.comfy.locate import ROOT

from .check import Measured, Settings

OCEAN = [ROOT / "tests" / "goldens" / "ocean" / f"{i}.webp" for i in (1, 2, 3, 4)]  # lossless
# THUDM/ImageReward, README.md, "Example use"
PROMPT = "a painting of an ocean with clouds and birds, day time, low depth field effect"
REWARDS = (0.5811622738838196, 0.2745276093482971, -1.4131819009780884, -2.029569625854492)
RANKING = [1, 2, 3, 4]
TEXTS = (PROMPT, "a photo of a cat")
# the README's numbers were made on another machine in a precision it does not state: a margin chosen, not measured
OCEAN_TOLERANCE, COSINE_TOLERANCE, HEAD_TOLERANCE = 1e-2, 1e-4, 1e-4
# what the published head (sha256 21dd590f...) says to `fixed_vectors`, computed in float64 by five linear layers
HEAD_SCORES = (5.79496770604811, 5.235615026406812, 5.041208054919673, 5.8151317892653385)
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def load(name: str, path: Path, settings: Settings) -> Any:
    from tastemaker.rewards import load_reward

    return load_reward(name, source=path, dtype=torch.float32, device=settings.device)


def largest(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest absolute difference; NaN where one holds NaN."""
    return float((found.double().cpu() - wanted.double().cpu()).abs().max())


def ocean(path: Path, settings: Settings) -> Measured:
    """Compare ImageReward's four ocean pictures with their published rewards and ranking."""
    from tastemaker.ranking import inference_rank

    return ocean_of(*inference_rank(load("imagereward-v1.0", path, settings), PROMPT, OCEAN))


def ocean_of(ranking: list[int], rewards: list[float]) -> Measured:
    apart = largest(torch.tensor(rewards), torch.tensor(REWARDS))
    wrong = "" if ranking == RANKING else f"the ranking is {ranking}, published is {RANKING}"
    return Measured(apart, OCEAN_TOLERANCE, "reward", wrong, (f"rewards {[round(r, 5) for r in rewards]}",))


def fixed_vectors() -> torch.Tensor:
    """Return four vectors of length 1 that are the same everywhere: (4, 768) float64."""
    places = torch.arange(4 * 768, dtype=torch.float64).reshape(4, 768)
    return F.normalize(torch.sin(places * places * 0.01 + 1), dim=-1)


def head(path: Path, settings: Settings) -> Measured:
    """Compare LAION's aesthetic head with what the published one says to fixed vectors."""
    from tastemaker.rewards.models.aesthetic import load_head

    network = load_head(path, 768).to(settings.device)
    with torch.no_grad():
        scores = network(fixed_vectors().float().to(settings.device))[:, 0]
    return Measured(largest(scores, torch.tensor(HEAD_SCORES, dtype=torch.float64)), HEAD_TOLERANCE, "points")


# --- CLIP's kin -------------------------------------------------------------------------------


def scores_of(name: str, path: Path, settings: Settings) -> torch.Tensor:
    """Return ours: (texts, pictures)."""
    reward = load(name, path, settings)
    return torch.stack([reward.picture_columns(OCEAN, text)[name] for text in TEXTS]).float().cpu()


def apart(found: torch.Tensor, wanted: torch.Tensor, tolerance: float, unit: str, *notes: str) -> Measured:
    flat = "" if float(wanted.std()) > tolerance else "the reference gives every picture the same score"
    return Measured(largest(found, wanted), tolerance, unit, flat, notes)


def no_reference(name: str, path: Path, settings: Settings, unit: str, why: str) -> Measured:
    """Load and score all the same: NaN, or one score for all, is wrong by itself."""
    found = scores_of(name, path, settings)
    bad = not bool(torch.isfinite(found).all()) or float(found.std()) == 0
    wrong = "the scores are NaN or all the same" if bad else ""
    return Measured(None, None, unit, wrong, (why, f"scores {found.flatten().tolist()}"))


def tokens(texts: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return what transformers' own tokenizer makes of texts, from the vocabulary that ships with the pack."""
    from transformers import CLIPTokenizerFast

    tokenizer = CLIPTokenizerFast.from_pretrained(str(ROOT / "assets" / "clip-tokenizer"), local_files_only=True)
    return dict(tokenizer(list(texts), padding="max_length", max_length=77, truncation=True, return_tensors="pt"))


def ocean_pixels() -> torch.Tensor:
    """Return the pictures as transformers' CLIP processor (with Pillow) prepares them; square ones are cut by none."""
    import transformers

    newest = getattr(transformers, "CLIPImageProcessorPil", None)
    processor = newest or transformers.CLIPImageProcessor
    return processor()([Image.open(path) for path in OCEAN], return_tensors="pt").pixel_values


def clip(name: str, path: Path, settings: Settings, scaled: bool) -> Measured:
    """Compare CLIP score or PickScore with transformers' CLIPModel on the same folder."""
    unit = "points" if scaled else "cosine"
    if path.is_file():
        why = "transformers reads a folder with config.json and model.safetensors only"
        return no_reference(name, path, settings, unit, why)
    from transformers import CLIPModel

    found = scores_of(name, path, settings)
    model = CLIPModel.from_pretrained(str(path), torch_dtype=torch.float32, local_files_only=True).eval()
    with torch.no_grad():
        wanted = model(pixel_values=ocean_pixels(), **tokens(TEXTS)).logits_per_text
        scale = float(model.logit_scale.exp())
    if scaled:
        return apart(found, wanted, COSINE_TOLERANCE * scale, unit)
    return apart(found, wanted / scale, COSINE_TOLERANCE, unit)


def clip_score(path: Path, settings: Settings) -> Measured:
    return clip("clip-score", path, settings, scaled=False)


def pickscore(path: Path, settings: Settings) -> Measured:
    return clip("pickscore-v1", path, settings, scaled=True)


def hps(path: Path, settings: Settings) -> Measured:
    """Compare HPS v2.1 with open_clip's own model on the same file."""
    try:
        import open_clip
    except ImportError:
        return no_reference("hps-v2.1", path, settings, "cosine", "open_clip_torch is not installed")
    found = scores_of("hps-v2.1", path, settings)
    model = open_clip_model(open_clip, path)
    texts = open_clip.get_tokenizer("ViT-H-14")(list(TEXTS))
    with torch.no_grad():
        image = model.encode_image(torch.stack([hps_pixels(path) for path in OCEAN]), normalize=True)
        wanted = model.encode_text(texts, normalize=True) @ image.T
    return apart(found, wanted, COSINE_TOLERANCE, "cosine")


def open_clip_model(open_clip: Any, path: Path) -> torch.nn.Module:
    """Return open_clip's ViT-H-14 with the weights of the file; sizes of a `.json` of its own name count before."""
    sizes = path.with_suffix(".json")
    config = open_clip.get_model_config("ViT-H-14")
    if sizes.is_file():
        given = json.loads(sizes.read_text(encoding="utf-8"))
        vision, text = given["vision_config"], given["text_config"]
        heads = vision["hidden_size"] // vision["num_attention_heads"]
        config = {
            "embed_dim": given["projection_dim"],
            "vision_cfg": {
                **{"layers": vision["num_hidden_layers"], "width": vision["hidden_size"], "head_width": heads},
                **{"patch_size": vision["patch_size"], "image_size": vision["image_size"]},
            },
            "text_cfg": {
                **{"width": text["hidden_size"], "heads": text["num_attention_heads"]},
                "layers": text["num_hidden_layers"],
            },
        }
    model = open_clip.model.CLIP(**{key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")})
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=True, assign=True)
    return model.eval()


def hps_pixels(path: Path) -> torch.Tensor:
    """Return a square picture as hpsv2 1.2.0 prepares it (`ResizeMaxSize`), in torchvision's words: (3, 224, 224)."""
    from torchvision.transforms import functional as T

    picture = T.to_tensor(Image.open(path).convert("RGB"))
    pixels = T.resize(picture, [224, 224], T.InterpolationMode.BICUBIC, antialias=True)
    return T.normalize(pixels, _MEAN, _STD)


# --- BLIP -------------------------------------------------------------------------------------

_BLIP = (  # as in transformers' convert_blip_original_pytorch_to_hf.py
    (r"^visual_encoder\.", "vision_model."),
    (r"blocks", "encoder.layers"),
    (r"\.attn\.", ".self_attn."),
    (r"norm(\d)", r"layer_norm\1"),
    (r"vision_model\.norm\.", "vision_model.post_layernorm."),
    (r"cls_token", "embeddings.class_embedding"),
    (r"pos_embed", "embeddings.position_embedding"),
    (r"patch_embed\.proj", "embeddings.patch_embedding"),
    (r"self_attn\.proj", "self_attn.projection"),
)


def blip(path: Path, settings: Settings) -> Measured:
    """Compare BLIP score with transformers' BlipForImageTextRetrieval on the same file."""
    if path.suffix == ".safetensors":
        return no_reference("blip-score", path, settings, "cosine", "the reference reads model_large.pth only")
    from tastemaker.rewards.models._text import bert_texts

    found = scores_of("blip-score", path, settings)
    model = blip_model(path)
    read = bert_texts().tokenizer(
        list(TEXTS), padding="max_length", max_length=35, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        wanted = torch.stack(
            [
                model(
                    input_ids=read.input_ids[[i]].expand(len(OCEAN), -1),
                    attention_mask=read.attention_mask[[i]].expand(len(OCEAN), -1),
                    pixel_values=ocean_pixels(),
                    use_itm_head=False,
                ).itm_score.diagonal()
                for i in range(len(TEXTS))
            ]
        )
    return apart(found, wanted, COSINE_TOLERANCE, "cosine")


def blip_model(path: Path) -> torch.nn.Module:
    """Return transformers' class with the file's two towers and projections; their sizes are read off the weights."""
    from transformers import BlipConfig, BlipForImageTextRetrieval

    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["model"]
    kept = ("visual_encoder.", "text_encoder.", "vision_proj.", "text_proj.")
    renamed = {}
    for key, value in state.items():
        if key.startswith(kept) and not key.endswith("position_ids"):
            if key.startswith("visual_encoder."):
                for old, new in _BLIP:
                    key = re.sub(old, new, key)
            renamed[key] = value.float()
    config = BlipConfig(**blip_sizes(renamed, *blip_heads(path)))
    model = BlipForImageTextRetrieval(config)
    lacking, unknown = model.load_state_dict(renamed, strict=False)
    lacking = [k for k in lacking if not k.startswith("itm_head.") and not k.endswith("position_ids")]
    if lacking or unknown:
        raise ValueError(f"transformers' BLIP does not take the file: missing {lacking[:3]}, unknown {unknown[:3]}")
    return model.eval()


def blip_heads(path: Path) -> tuple[int, int]:
    """Return the attention heads of the ViT and of the text tower: 16 and 12, but for files that say otherwise."""
    own, med = path.with_suffix(".json"), path.parent / "med_config.json"
    vit = json.loads(own.read_text(encoding="utf-8"))["vit"]["heads"] if own.is_file() else 16
    text = json.loads(med.read_text(encoding="utf-8"))["num_attention_heads"] if med.is_file() else 12
    return vit, text


def blip_sizes(state: dict[str, torch.Tensor], vit_heads: int, text_heads: int) -> dict[str, Any]:
    """Return transformers' config of these weights."""
    width, _, patch, _ = state["vision_model.embeddings.patch_embedding.weight"].shape
    side = int((state["vision_model.embeddings.position_embedding"].shape[1] - 1) ** 0.5) * patch
    words, text = state["text_encoder.embeddings.word_embeddings.weight"].shape
    shared = state["vision_proj.weight"].shape[0]

    def layers(prefix: str) -> int:
        return 1 + max(int(k.removeprefix(prefix).split(".")[0]) for k in state if k.startswith(prefix))

    return {
        "projection_dim": shared,
        "image_text_hidden_size": shared,
        "vision_config": {
            **{"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": vit_heads},
            **{"num_hidden_layers": layers("vision_model.encoder.layers."), "image_size": side, "patch_size": patch},
            **{"layer_norm_eps": 1e-6, "hidden_act": "gelu"},
        },
        "text_config": {
            **{"vocab_size": words, "hidden_size": text, "encoder_hidden_size": width},
            "intermediate_size": state["text_encoder.encoder.layer.0.intermediate.dense.weight"].shape[0],
            "num_hidden_layers": layers("text_encoder.encoder.layer."),
            "num_attention_heads": text_heads,
            "max_position_embeddings": state["text_encoder.embeddings.position_embeddings.weight"].shape[0],
            **{"layer_norm_eps": 1e-12, "hidden_act": "gelu", "bos_token_id": words - 2},
        },
    }

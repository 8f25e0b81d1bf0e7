"""The manifest's other kinds: rewards, Inception, LoRAs, protocols. A new official file is one entry of its list.

What `files`, `tensors` and `expected` mean is said at each list; `test_other_kinds.py` holds every entry against them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.conftest import GOLDENS, OFFICIAL
from tests.official.manifest import Official

_APACHE, _MIT, _BSD = "Apache-2.0", "MIT", "BSD-3-Clause"
_KEYS = {k: tuple(v) for k, v in json.loads((GOLDENS / "imagereward_keys.json").read_text(encoding="utf-8")).items()}
_BLIP = {key.removeprefix("blip."): shape for key, shape in _KEYS.items() if key.startswith("blip.")}
_MED = {"med_config.json": json.loads((OFFICIAL / "imagereward" / "med_config.json").read_text(encoding="utf-8"))}
_HEAD_SIZES = {0: (1024, 768), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}


def _head() -> dict[str, tuple[int, ...]]:
    weights = {f"layers.{i}.weight": shape for i, shape in _HEAD_SIZES.items()}
    return weights | {f"layers.{i}.bias": shape[:1] for i, shape in _HEAD_SIZES.items()}


# --- rewards: `tensors` of the file at full size, `files` beside it; expected: the reward that reads it, the entry of
# --- the pickle they lie in, their format, and `open_clip` or `transformers`, where names and shapes are that library's
REWARDS: tuple[Official, ...] = (
    Official(
        *("ImageReward.pt", "reward", "THUDM/ImageReward", _APACHE, _MED, {"ImageReward.pt": 1_786_880_927}),
        tensors=_KEYS,
        expected={"reward": "imagereward-v1.0"},
    ),
    Official(
        *("model_large.pth", "reward", "salesforce/BLIP", _BSD, _MED),
        tensors=_BLIP,
        expected={"reward": "blip-score", "inside": "model"},
    ),
    Official(
        *("sac+logos+ava1-l14-linearMSE.pth", "reward", "christophschuhmann/improved-aesthetic-predictor", _APACHE),
        weights={"sac+logos+ava1-l14-linearMSE.pth": 3_714_759},
        tensors=_head(),
        expected={"reward": "aesthetic-v2"},
    ),
    Official(
        *("HPS_v2.1_compressed.pt", "reward", "xswu/HPSv2", _APACHE),
        expected={"reward": "hps-v2.1", "inside": "state_dict", "half": True, "open_clip": "ViT-H-14"},
    ),
    Official(
        *("clip-vit-large-patch14", "reward", "openai/clip-vit-large-patch14", _MIT),
        weights={"model.safetensors": 1_710_540_580},
        expected={"reward": "clip-score", "transformers": "CLIP_L"},
    ),
    Official(
        *("PickScore_v1", "reward", "yuvalkirstain/PickScore_v1", _MIT),
        expected={"reward": "pickscore-v1", "transformers": "CLIP_H"},
    ),
)

# --- Inception: one file under two names, in the format before PyTorch 1.6; expected: how many tensors it has
_INCEPTION_BYTES, _INCEPTION = 95_628_359, {"tensors": 566}
INCEPTION: tuple[Official, ...] = tuple(
    Official(name, "inception", repository, _APACHE, weights={name: _INCEPTION_BYTES}, expected=_INCEPTION)
    for name, repository in (
        ("pt_inception-2015-12-05-6726825d.pth", "mseitzer/pytorch-fid"),
        ("weights-inception-2015-12-05-6726825d.pth", "toshas/torch-fidelity"),
    )
)

# --- LoRAs: `tensors` of a layer as the trainer names it, on SDXL's sizes; expected: (component, module path or name in
# --- the original layout) to the kind of the layer, or `refused`, a pattern
_Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
_FLAT, _SGM = _Q.replace(".", "_"), "input_blocks.4.1.transformer_blocks.0.attn1.to_q"
_FLAT_SGM = f"lora_unet_{_SGM.replace('.', '_')}"
_TEXT = "text_model.encoder.layers.0.self_attn.q_proj"
_L, _R = 640, 4  # the layer's width, the rank
_TEXT_WIDTH, _ON_Q = 768, {("unet", _Q): "LoRA"}


def _lora(name: str, source: str, tensors: Mapping[str, tuple[int, ...]], expected: Mapping[Any, Any]) -> Official:
    return Official(name, "lora", source, "names only", tensors=dict(tensors), expected=dict(expected))


def _pair(key: str, width: int = _L, up: str = "lora_up", down: str = "lora_down") -> dict[str, tuple[int, ...]]:
    return {f"{key}.{up}.weight": (width, _R), f"{key}.{down}.weight": (_R, width)}


def _kind(parts: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"lora_unet_{_FLAT}.{part}": shape for part, shape in parts.items()}


def _on_q(kind: str) -> dict[tuple[str, str], str]:
    return {("unet", _Q): kind}


_UP_DOWN = {"lora_up.weight": (_L, _R), "lora_down.weight": (_R, _L)}
_LOHA = {f"hada_{name}": (_L, _R) if name.endswith("_a") else (_R, _L) for name in ("w1_a", "w1_b", "w2_a", "w2_b")}
_GLORA = {"a1.weight": (_R, _L), "a2.weight": (_L, _R), "b1.weight": (_R, _L), "b2.weight": (_L, _R)}
LORAS: tuple[Official, ...] = (
    _lora(
        "kohya, sgm names",
        "kohya-ss/sd-scripts",
        _pair(f"lora_unet_{_SGM.replace('.', '_')}"),
        {("unet", _SGM): "LoRA"},
    ),
    _lora("kohya, diffusers names (LCM-LoRA, Lightning)", "kohya-ss/sd-scripts", _pair(f"lora_unet_{_FLAT}"), _ON_Q),
    _lora(
        "kohya, text encoder",
        "kohya-ss/sd-scripts",
        _pair(f"lora_te1_{_TEXT.replace('.', '_')}", _TEXT_WIDTH),
        {("text_encoder", _TEXT): "LoRA"},
    ),
    _lora("diffusers, peft names", "huggingface/diffusers", _pair(f"unet.{_Q}", _L, "lora_B", "lora_A"), _ON_Q),
    _lora("diffusers 0.21", "huggingface/diffusers", _pair(f"unet.{_Q}", _L, "lora.up", "lora.down"), _ON_Q),
    _lora("peft", "huggingface/peft", _pair(f"base_model.model.{_Q}", _L, "lora_B", "lora_A"), _ON_Q),
    _lora(
        "diffusers before 0.20",
        "huggingface/diffusers",
        {
            f"unet.{_Q.removesuffix('.to_q')}.processor.to_q_lora.up.weight": (_L, _R),
            f"unet.{_Q.removesuffix('.to_q')}.processor.to_q_lora.down.weight": (_R, _L),
        },
        _ON_Q,
    ),
    _lora(
        "ComfyUI, text encoder",
        "comfyanonymous/ComfyUI",
        _pair(f"text_encoders.clip_l.transformer.{_TEXT}", _TEXT_WIDTH),
        {("text_encoder", _TEXT): "LoRA"},
    ),
    _lora("ComfyUI, whole difference", "comfyanonymous/ComfyUI", _kind({"diff": (_L, _L)}), _on_q("whole difference")),
    _lora("OneTrainer, bundled embeddings", "Nerogar/OneTrainer", _pair(f"lora_unet_{_FLAT}"), _ON_Q),
    _lora("DoRA", "kohya-ss/sd-scripts", _kind(_UP_DOWN | {"dora_scale": (_L, 1)}), _on_q("DoRA")),
    _lora("LoHa", "KohakuBlueleaf/LyCORIS", _kind(_LOHA), _on_q("LoHa")),
    _lora("LoKr", "KohakuBlueleaf/LyCORIS", _kind({"lokr_w1": (4, 4), "lokr_w2": (160, 160)}), _on_q("LoKr")),
    _lora("GLoRA", "KohakuBlueleaf/LyCORIS", _kind(_GLORA), _on_q("GLoRA")),
    _lora("OFT", "KohakuBlueleaf/LyCORIS", _kind({"oft_blocks": (4, 160, 160)}), _on_q("OFT")),
    _lora("(IA)^3", "KohakuBlueleaf/LyCORIS", _kind({"weight": (_L, 1), "on_input": ()}), _on_q("(IA)^3")),
    _lora(
        "FLUX",
        "black-forest-labs",
        _pair("lora_unet_double_blocks_0_img_attn_qkv"),
        {"refused": "FLUX"},
    ),
    _lora(
        "Stable Diffusion 1", "kohya-ss/sd-scripts", _pair("lora_te_text_model_x"), {"refused": "Stable Diffusion 1"}
    ),
)

# --- protocols: `files` (JSON) or `extra` (text) as published, a few entries of them; expected: the protocol, and the
# --- (prompt, category, picture) of its first row
_ID = f"{1:040x}"
_OTHER_CATEGORIES = ("animals", "art", "fashion", "food", "indoor", "landscape", "logo", "plants", "vehicles")
PROTOCOLS: tuple[Official, ...] = (
    Official(
        *("PartiPrompts.tsv", "protocol", "google-research/parti", _APACHE),
        extra={"PartiPrompts.tsv": (OFFICIAL / "PartiPrompts.tsv").read_bytes()},
        expected={"protocol": "parti-prompts", "first": ("bond", "Abstract", "")},
    ),
    Official(
        *("MJHQ-30K", "protocol", "playgroundai/MJHQ-30K", "facts only"),
        files={
            "meta_data.json": {
                f"{i:040x}": {"category": category, "prompt": f"a picture of {category}"}
                for i, category in enumerate(("people", *_OTHER_CATEGORIES), 1)
            }
        },
        expected={"protocol": "mjhq-30k", "first": ("a picture of people", "people", f"mjhq30k_imgs/people/{_ID}.jpg")},
    ),
    Official(
        *("MS-COCO 2014", "protocol", "cocodataset.org", "facts only"),
        files={
            "annotations/captions_val2014.json": {
                "info": {},
                "licenses": [],
                "images": [{"id": 7, "file_name": "COCO_val2014_000000000007.jpg", "height": 480, "width": 640}],
                "annotations": [{"image_id": 7, "id": 1, "caption": "A star"}],
            }
        },
        expected={"protocol": "coco-2014", "first": ("A star", "", "val2014/COCO_val2014_000000000007.jpg")},
    ),
)
OTHERS = REWARDS + INCEPTION + LORAS + PROTOCOLS

"""The rewards there are, by name: their files, their meaning, how each is built."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.assets import asset_folder
from ..core.errors import InputError
from .files import (
    AESTHETIC_HEAD,
    BLIP_LARGE,
    CLIP_LARGE,
    HPS,
    IMAGEREWARD,
    PICKSCORE,
    RewardFile,
    find_files,
)

if TYPE_CHECKING:
    import torch

    from .models.pixels import PixelNetwork
    from .reward import Reward


@dataclass(frozen=True)
class KnownReward:
    """A reward that can be loaded by name.

    Attributes:
        build: (files, dtype) to a network and the remarks on prompts; None for arithmetic.
        files: what it is read from; empty for what ships with the pack.
        needs_prompt: whether it compares with a text.
        meaning: range and meaning of a score.
        source: paper and code.
    """

    build: Callable[[Sequence[Path], torch.dtype], tuple[PixelNetwork, Callable | None]] | None
    files: tuple[RewardFile, ...]
    needs_prompt: bool
    meaning: str
    source: str


def load_reward(
    name: str,
    *,
    source: Path | str | Sequence[Path] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Reward:
    """Load a reward by name.

    Args:
        name: a key of `REWARDS`.
        source: where its official files are: a folder such as `ComfyUI/models/rewards`, several folders, or
            the file itself. Not needed for what ships with the pack.
        dtype: what its network runs in; None is float32.
        device: None is the CPU.

    Raises:
        InputError: an unknown name. ModelFileError: its files are missing or damaged.
    """
    import torch

    if name not in REWARDS:
        raise InputError("reward", name, f"Pick one of {', '.join(REWARDS)}.")
    known = REWARDS[name]
    if known.build is None:
        return _arithmetic(name, known)
    dtype = dtype or torch.float32
    if not dtype.is_floating_point or dtype.itemsize < 2:
        raise InputError("dtype", str(dtype), "Pick float32, float16 or bfloat16.")
    return _network(name, known, source, dtype, torch.device(device or "cpu"))


def _network(
    name: str, known: KnownReward, source: Path | str | Sequence[Path] | None, dtype: torch.dtype, device: torch.device
) -> Reward:
    from .models.pixels import network_reward
    from .statistics import REFERENCE

    paths = find_files(name, known.files, source) if known.files else _embedded_files(name)
    network, remarks = known.build(paths, dtype)
    network.module.to(device)
    return network_reward(
        network,
        name=name,
        needs_prompt=known.needs_prompt,
        meaning=known.meaning,
        fingerprint=_fingerprint(name, paths, str(dtype), *network.settings),
        remarks=remarks,
        source=known.source,
        statistics=REFERENCE.get(name),
    )


def _embedded_files(name: str) -> list[Path]:
    folder = asset_folder(name)
    return [folder / "ImageReward.safetensors", folder / "vocab.txt"]


def _fingerprint(name: str, paths: Sequence[Path], *settings: str) -> str:
    """Sixteen hex digits of a reward's name, the contents of its files and its settings."""
    from ..loaders.folder.files import model_files
    from ..loaders.formats.fingerprint import fingerprint

    parts = [name, *settings]
    for path in paths:
        files = model_files(path) if path.is_dir() else [path]
        parts.append(fingerprint(path if path.is_dir() else path.parent, files))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _arithmetic(name: str, known: KnownReward) -> Reward:
    from .models import jpeg
    from .reward import Reward
    from .statistics import REFERENCE

    sign = -1 if name == "jpeg-compressibility" else 1
    return Reward(
        name=name,
        score=lambda images, prompts: sign * jpeg.image_kilobytes(images, prompts),
        picture_score=lambda pictures, prompts: sign * jpeg.picture_kilobytes(pictures, prompts),
        needs_prompt=known.needs_prompt,
        meaning=known.meaning,
        fingerprint=_fingerprint(name, [], f"Pillow quality {jpeg.QUALITY}"),
        source=known.source,
        statistics=REFERENCE.get(name),
    )


# --- how each is built ------------------------------------------------------------------------


def _bert_remarks(tokenizer):
    from .models.bert_text import cut_remarks

    return lambda prompts: cut_remarks(tokenizer, prompts)


def _clip_remarks(tokenizer):
    from .models.clip import prompt_remarks

    return lambda prompts: prompt_remarks(tokenizer, prompts)


def _tiny_imagereward(paths: Sequence[Path], dtype: torch.dtype):
    from .models.bert_text import load_tokenizer
    from .models.imagereward import load_network, pixel_network

    folder = paths[0].parent
    tokenizer = load_tokenizer(folder)
    return pixel_network(load_network(folder, dtype), tokenizer), _bert_remarks(tokenizer)


def _imagereward(paths: Sequence[Path], dtype: torch.dtype):
    from .models.bert_text import official_tokenizer
    from .models.imagereward import load_official, pixel_network

    tokenizer = official_tokenizer()
    return pixel_network(load_official(paths[0], dtype), tokenizer), _bert_remarks(tokenizer)


def _blip_score(paths: Sequence[Path], dtype: torch.dtype):
    from .models.bert_text import official_tokenizer
    from .models.blip_score import load_blip_score, pixel_network

    tokenizer = official_tokenizer()
    return pixel_network(load_blip_score(paths[0], dtype), tokenizer), _bert_remarks(tokenizer)


def _clip_score(paths: Sequence[Path], dtype: torch.dtype):
    from .models.clip import CLIP_L, cleaning_tokenizer, load_clip
    from .models.clip_rewards import cosine_network

    tokenizer = cleaning_tokenizer()
    return cosine_network(load_clip(paths[0], CLIP_L, dtype), tokenizer), _clip_remarks(tokenizer)


def _pickscore(paths: Sequence[Path], dtype: torch.dtype):
    from .models.clip import CLIP_H, load_clip, text_tokenizer
    from .models.clip_rewards import cosine_network

    tokenizer = text_tokenizer()
    return cosine_network(load_clip(paths[0], CLIP_H, dtype), tokenizer, scaled=True), _clip_remarks(tokenizer)


def _hps(paths: Sequence[Path], dtype: torch.dtype):
    from .models.clip import CLIP_H, cleaning_tokenizer, load_clip
    from .models.clip_rewards import cosine_network

    tokenizer = cleaning_tokenizer()
    return cosine_network(load_clip(paths[0], CLIP_H, dtype), tokenizer, whole=True), _clip_remarks(tokenizer)


def _aesthetic(paths: Sequence[Path], dtype: torch.dtype):
    from .models.clip import CLIP_L, load_clip
    from .models.clip_rewards import aesthetic_network, load_head

    clip = load_clip(paths[1], CLIP_L, dtype, text=False)
    return aesthetic_network(clip, load_head(paths[0], clip.config.projection_dim)), None


REWARDS: Mapping[str, KnownReward] = {
    "tiny-imagereward": KnownReward(
        _tiny_imagereward,
        (),
        True,
        "About -2 (unrelated) to 2 (as described); for pictures of the embedded world.",
        "Trained by scripts/embedded; the architecture of ImageReward (arXiv 2304.05977).",
    ),
    "imagereward-v1.0": KnownReward(
        _imagereward,
        (IMAGEREWARD,),
        True,
        "How much people prefer a picture for its prompt: about -2 to 2, mean 0 and spread 1 on its authors' pictures.",
        "Xu et al. 2023, arXiv 2304.05977; THUDM/ImageReward.",
    ),
    "clip-score": KnownReward(
        _clip_score,
        (CLIP_LARGE,),
        True,
        "Cosine of picture and text, -1 to 1; papers that say CLIP score often show it times 100.",
        "Radford et al. 2021, arXiv 2103.00020; OpenAI's CLIP ViT-L/14.",
    ),
    "blip-score": KnownReward(
        _blip_score,
        (BLIP_LARGE,),
        True,
        "Cosine of picture and text, -1 to 1.",
        "Li et al. 2022, arXiv 2201.12086; Salesforce's BLIP large, as THUDM/ImageReward compares with it.",
    ),
    "aesthetic-v2": KnownReward(
        _aesthetic,
        (AESTHETIC_HEAD, CLIP_LARGE),
        False,
        "How much people like a picture, whatever it shows: about 1 to 10.",
        "LAION aesthetic predictor v2; christophschuhmann/improved-aesthetic-predictor, on CLIP ViT-L/14.",
    ),
    "pickscore-v1": KnownReward(
        _pickscore,
        (PICKSCORE,),
        True,
        "How much people prefer a picture for its prompt: the cosine times the model's own scale, which is about 100.",
        "Kirstain et al. 2023, arXiv 2305.01569; yuvalkirstain/PickScore_v1.",
    ),
    "hps-v2.1": KnownReward(
        _hps,
        (HPS,),
        True,
        "How much people prefer a picture for its prompt: a cosine, -1 to 1; its authors' tables show it times 100.",
        "Wu et al. 2023, arXiv 2306.09341; xswu/HPSv2.",
    ),
    "jpeg-compressibility": KnownReward(
        None,
        (),
        False,
        "Minus the kB of its JPEG at quality 95: small files win.",
        "Black et al. 2023, arXiv 2305.13301.",
    ),
    "jpeg-incompressibility": KnownReward(
        None, (), False, "The kB of its JPEG at quality 95: large files win.", "Black et al. 2023, arXiv 2305.13301."
    ),
}

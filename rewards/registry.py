"""The rewards there are, by name. Each one's entry stands at the end of its own file in `models/`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InputError
from .files import find_files
from .known import KnownReward
from .models import (
    aesthetic,
    blip_score,
    clip_score,
    hps,
    imagereward,
    jpeg,
    pickscore,
    tiny_aesthetic,
    tiny_imagereward,
)

if TYPE_CHECKING:
    import torch

    from .reward import Reward

_KNOWN = (  # in the order of the Load Reward node
    tiny_imagereward.REWARD,
    tiny_aesthetic.REWARD,
    imagereward.REWARD,
    clip_score.REWARD,
    blip_score.REWARD,
    aesthetic.REWARD,
    pickscore.REWARD,
    hps.REWARD,
    jpeg.COMPRESSIBILITY,
    jpeg.INCOMPRESSIBILITY,
)
REWARDS: Mapping[str, KnownReward] = {known.name: known for known in _KNOWN}


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
        dtype: what its network runs in; None is float32 on a CPU, float16 on a GPU.
        device: None is the CPU.

    Raises:
        InputError: an unknown name. ModelFileError: its files are missing or damaged.
    """
    import torch

    from .reward import Reward

    if name not in REWARDS:
        raise InputError("reward", name, f"Pick one of {', '.join(REWARDS)}.")
    known = REWARDS[name]
    dtype = dtype or (torch.float32 if torch.device(device or "cpu").type == "cpu" else torch.float16)
    if not dtype.is_floating_point or dtype.itemsize < 2:
        raise InputError("dtype", str(dtype), "Pick float32, float16 or bfloat16.")
    paths = find_files(name, known.files, source) if known.files else known.shipped_files()
    scorer = known.build(paths, dtype)
    for module in scorer.modules.values():
        module.to(device or "cpu")
    formats = [str(dtype)] if scorer.modules else []
    return Reward(
        name=name,
        score=scorer.score,
        picture_score=scorer.picture_score,
        gradient_score=scorer.gradient_score,
        overflow=scorer.overflow,
        embed=scorer.embed,
        modules=scorer.modules,
        needs_prompt=known.needs_prompt,
        meaning=known.meaning,
        fingerprint=_fingerprint(name, paths, *formats, *scorer.settings),
        source=known.source,
        statistics=known.statistics,
    )


def _fingerprint(name: str, paths: Sequence[Path], *settings: str) -> str:
    """Return sixteen hex digits of a reward's name, the contents of its files and its settings."""
    from ..loaders.folder.files import model_files
    from ..loaders.formats.fingerprint import fingerprint

    parts = [name, *settings]
    for path in paths:
        files = model_files(path) if path.is_dir() else [path]
        parts.append(fingerprint(path if path.is_dir() else path.parent, files))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

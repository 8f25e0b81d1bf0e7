"""The rewards there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..loaders.embedded import asset_folder
from ..loaders.errors import InputError

if TYPE_CHECKING:
    import torch

    from .reward import Reward


def load_reward(name: str, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Reward:
    """Load a reward by name.

    Args:
        name: a key of `REWARDS`.
        dtype: what its network runs in; None is float32.
        device: None is the CPU.

    Raises:
        InputError: an unknown name. ModelFileError: its files are missing or damaged.
    """
    import torch

    if name not in REWARDS:
        raise InputError("reward", name, f"Pick one of {', '.join(REWARDS)}.")
    return REWARDS[name](dtype or torch.float32, torch.device(device or "cpu"))


def _tiny_imagereward(dtype: torch.dtype, device: torch.device) -> Reward:
    from functools import partial

    from ..loaders.fingerprint import fingerprint
    from .imagereward import load_network, load_tokenizer, score_images
    from .reward import Reward

    folder = asset_folder("tiny-imagereward")
    network = load_network(folder, dtype).to(device)
    tokenizer = load_tokenizer(folder)
    return Reward(
        name="tiny-imagereward",
        score=partial(score_images, network, tokenizer),
        needs_prompt=True,
        meaning="About -2 (unrelated) to 2 (as described); for pictures of the embedded world.",
        fingerprint=fingerprint(folder, [folder / "ImageReward.safetensors", folder / "vocab.txt"]),
        modules={"network": network},
    )


REWARDS: dict[str, Callable[[torch.dtype, torch.device], Reward]] = {
    "tiny-imagereward": _tiny_imagereward,
}

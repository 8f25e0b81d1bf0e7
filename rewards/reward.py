"""`Reward`: one object that scores, filters, ranks and trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ..loaders.errors import InputError, NonFiniteError
from ..loaders.texts import check_prompts

if TYPE_CHECKING:
    from torch import nn

ScoreFunction = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Reward:
    """Scores pictures: `reward(images, prompts)` is one float32 for each image, higher is better.

    Attributes:
        name: what the user picked; a score column's title.
        score: images (B, H, W, 3) in [0, 1] and B prompts to (B,).
        needs_prompt: whether an empty prompt makes no sense to it.
        meaning: range and meaning of a score in one line.
        fingerprint: names the weights it was read from.
        modules: the networks it uses, for whoever manages memory.
        batch_size: pictures scored at once.
    """

    name: str
    score: ScoreFunction
    needs_prompt: bool
    meaning: str
    fingerprint: str
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    batch_size: int = 16

    def __call__(
        self,
        images: torch.Tensor,
        prompts: str | Sequence[str],
        *,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> torch.Tensor:
        """Score images.

        Args:
            images: (B, H, W, 3), float in [0, 1].
            prompts: one text for all images, or one for each.
            on_batch: called with (scored, B) after each batch; what it raises stops the scoring.

        Returns:
            float32 (B,) on the CPU.

        Raises:
            InputError: images or prompts that cannot be scored.
            NonFiniteError: a score that is NaN or infinite, by reward, image and prompt.
        """
        images = check_images(images)
        texts = one_prompt_each(prompts, len(images))
        if self.needs_prompt:
            empty = [i for i, text in enumerate(texts) if not text.strip()]
            if empty:
                raise InputError(
                    "prompts",
                    texts[empty[0]],
                    f"{self.name} compares a picture with its prompt; "
                    f"image {empty[0] + 1} of {len(texts)} has none. Connect prompts or type one.",
                )
        scores = []
        for first in range(0, len(images), self.batch_size):
            rows = slice(first, first + self.batch_size)
            scores.append(self.score(images[rows], texts[rows]).float().cpu())
            if on_batch is not None:
                on_batch(min(first + self.batch_size, len(images)), len(images))
        return self._checked(torch.cat(scores), texts)

    def parts(
        self,
        images: torch.Tensor,
        prompts: str | Sequence[str],
        *,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> dict[str, torch.Tensor]:
        """What a combined reward's scores were made of: a name -> float32 (B,). Empty for a single reward."""
        return {}

    def columns(
        self,
        images: torch.Tensor,
        prompts: str | Sequence[str],
        *,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> dict[str, torch.Tensor]:
        """The score, then the parts it was made of: `name` first, each float32 (B,).

        Takes and raises what `__call__` does.
        """
        return {self.name: self(images, prompts, on_batch=on_batch)}

    def _checked(self, scores: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
        if scores.shape != (len(texts),):
            raise NonFiniteError(f"{self.name} returned scores of shape {tuple(scores.shape)} for {len(texts)} images.")
        bad = torch.nonzero(~torch.isfinite(scores)).flatten().tolist()
        if bad:
            raise NonFiniteError(
                f"{self.name} scored image {bad[0] + 1} as {scores[bad[0]].item()} (prompt {texts[bad[0]]!r})."
            )
        return scores


def check_images(images: torch.Tensor) -> torch.Tensor:
    """Images as a normal (B, H, W, 3) tensor. Raises InputError saying what is wrong with them."""
    if not isinstance(images, torch.Tensor) or images.ndim != 4:
        shape = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise InputError("images", shape, "Images are one tensor of shape (batch, height, width, 3).")
    if 0 in images.shape:
        raise InputError("images", tuple(images.shape), "The batch is empty.")
    if images.shape[-1] != 3:
        raise InputError("images", tuple(images.shape), "Images need 3 channels (RGB); remove the alpha channel first.")
    finite = torch.isfinite(images).flatten(1).all(1)
    if not finite.all():
        index = int(torch.nonzero(~finite)[0]) + 1
        raise InputError("images", f"image {index} of {len(images)}", "It holds NaN or infinite pixels.")
    return images


def one_prompt_each(prompts: str | Sequence[str], count: int) -> list[str]:
    """`count` prompts from one or from `count`. Raises InputError."""
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    check_prompts(texts)
    if len(texts) == 1:
        texts = texts * count
    if len(texts) != count:
        raise InputError("prompts", len(texts), f"There are {count} images; give one prompt, or one for each.")
    return texts

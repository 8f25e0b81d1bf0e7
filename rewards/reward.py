"""`Reward`: one object that scores, filters, ranks and trains."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..core.errors import InputError, NonFiniteError
from ..core.memory import in_parts
from ..core.progress import Progress
from ..core.texts import check_prompts
from ..images.convert import check_images, from_pil, in_threads, open_picture

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

    from .statistics import Statistics

log = logging.getLogger(__name__)

ScoreFunction = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]
PictureFunction = Callable[["Sequence[Image.Image]", Sequence[str]], torch.Tensor]
OverflowFunction = Callable[[str], list[str]]
EmbedFunction = Callable[[torch.Tensor], torch.Tensor]

_FIRST_BATCH, _LARGEST_BATCH = 8, 256  # where the batch size is found by itself


@dataclass(frozen=True, eq=False)
class Reward:
    """Scores pictures: `reward(images, prompts)` is one float32 for each image, higher is better.

    Attributes:
        name: what the user picked; a score column's title.
        score: images (B, H, W, 3) in [0, 1] and B prompts to (B,).
        needs_prompt: whether an empty prompt makes no sense to it.
        meaning: range and meaning of a score in one line.
        fingerprint: names the weights it was read from and the settings that change its scores.
        modules: the networks it uses, for the host's memory manager.
        batch_size: pictures scored at once; None: found by itself.
        gradient_score: like `score`, with gradients that reach the images; None: it has none.
        picture_score: PIL pictures of any sizes and as many prompts to (B,); None: through `score`.
        embed: images (B, H, W, 3) in [0, 1] to what its encoder sees in them, float32 (B, D), with gradients where they
            are enabled; None: it has no encoder.
        overflow: what to say of a prompt that it does not read whole, a line each; None: nothing.
        source: paper and weights.
        statistics: mean and standard deviation of its scores, for combining; None: not known.
    """

    name: str
    score: ScoreFunction
    needs_prompt: bool
    meaning: str
    fingerprint: str
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    batch_size: int | None = None
    gradient_score: ScoreFunction | None = None
    picture_score: PictureFunction | None = None
    overflow: OverflowFunction | None = None
    embed: EmbedFunction | None = None
    source: str = ""
    statistics: Statistics | None = None

    @property
    def differentiable(self) -> bool:
        """Whether gradients reach the images through `with_gradient`."""
        return self.gradient_score is not None

    @property
    def relative(self) -> bool:
        """Whether a picture's score depends on the others it is scored with: then no cache may keep it."""
        return False

    @property
    def members(self) -> tuple[Reward, ...]:
        """The rewards this one is combined of; empty for a single one."""
        return ()

    @property
    def leaves(self) -> tuple[Reward, ...]:
        """The single rewards this one is combined of, however deep; itself where it is single."""
        return tuple(leaf for member in self.members for leaf in member.leaves) or (self,)

    @property
    def silent(self) -> Reward:
        """The same reward, which logs nothing of prompts that it does not read whole: a caller reports them itself."""
        return replace(self, overflow=None)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns its scores come in: its own, then those of its members, however deep."""
        return (self.name, *(name for member in self.members for name in member.column_names))

    def __call__(
        self, images: torch.Tensor, prompts: str | Sequence[str], *, progress: Progress | None = None
    ) -> torch.Tensor:
        """Score images.

        Args:
            images: (B, H, W, 3), float in [0, 1].
            prompts: one text for all images, or one for each.
            progress: counts the images scored, a batch at a time; what it raises stops the scoring.

        Returns:
            float32 (B,) on the CPU.

        Raises:
            InputError: images or prompts that cannot be scored.
            NonFiniteError: a score that is NaN or infinite, by reward, image and prompt.
            OutOfMemoryError: not even one picture fits.
        """
        return self.columns(images, prompts, progress=progress)[self.name]

    def total(self, columns: Mapping[str, torch.Tensor], prompts: Sequence[str]) -> torch.Tensor:
        """Return the reward's own scores, given `columns` by name and one prompt each: float32 (B,)."""
        return columns[self.name]

    def columns(
        self, images: torch.Tensor, prompts: str | Sequence[str], *, progress: Progress | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the score and what it was made of: `name` first, then those of its members, each float32 (B,).

        Takes and raises what `__call__` does.
        """
        images = check_images(images)
        texts = self._texts(prompts, len(images))
        height, width = images.shape[1:3]

        def work(rows: slice) -> torch.Tensor:
            return self.score(images[rows], texts[rows])

        return {self.name: self._in_batches(work, texts, f"one picture of {width} x {height}", progress)}

    def picture_columns(
        self,
        pictures: Sequence[Image.Image | Path | str],
        prompts: str | Sequence[str],
        *,
        progress: Progress | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return `columns` of PIL images or image files, of any sizes, at most a batch of them open at once.

        Raises InputError for a file that cannot be opened, and what `__call__` does.
        """
        if not pictures:
            raise InputError("pictures", 0, "There are none.")
        texts = self._texts(prompts, len(pictures))

        def work(rows: slice) -> torch.Tensor:
            opened = in_threads(open_picture, pictures[rows])
            if self.picture_score is not None:
                return self.picture_score(opened, texts[rows])
            pairs = zip(opened, texts[rows], strict=True)
            return torch.cat([self.score(from_pil(picture), [text]).reshape(-1) for picture, text in pairs])

        return {self.name: self._in_batches(work, texts, "one picture", progress)}

    def with_gradient(self, images: torch.Tensor, prompts: str | Sequence[str]) -> torch.Tensor:
        """Score with gradients that flow to the images, in one batch. Shape: (B, H, W, 3) -> (B,).

        The resizing is torch's antialiased bicubic and the pixels are not rounded to 8 bits, so scores
        differ a little from `__call__`'s. Raises InputError for a reward that has no gradients.
        """
        if self.gradient_score is None:
            raise InputError("reward", self.name, "This reward has no gradients. Train with DDPO, which needs none.")
        images = check_images(images)
        return self.gradient_score(images, self._texts(prompts, len(images))).float()

    def overflows(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """Return what to say of prompts that are not read whole: a single reward's name -> lines, each prompt once."""
        distinct = list(dict.fromkeys(prompts))
        lines = {
            one.name: [line for prompt in distinct for line in one.overflow(prompt)]
            for one in self.leaves
            if one.overflow is not None
        }
        return {name: said for name, said in lines.items() if said}

    def _texts(self, prompts: str | Sequence[str], count: int) -> list[str]:
        texts = one_prompt_each(prompts, count)
        if self.needs_prompt:
            check_not_empty(self.name, texts)
        if not self.members:  # each of them sees the same prompts
            for line in self.overflows(texts).get(self.name, ()):
                log.warning("%s: %s", self.name, line)
        return texts

    def _in_batches(
        self, work: Callable[[slice], torch.Tensor], texts: Sequence[str], each: str, progress: Progress | None
    ) -> torch.Tensor:
        """Score all rows, `work` taking as many at once as are set, or as fit."""
        on_gpu = any(p.device.type != "cpu" for m in self.modules.values() for p in m.parameters())
        size = self.batch_size or _FIRST_BATCH
        largest = _LARGEST_BATCH if self.batch_size is None and on_gpu else None  # a CPU gains nothing
        scores: list[torch.Tensor] = []
        progress = progress or Progress()
        progress.phase(f"scoring with {self.name}", len(texts))

        def checked(rows: slice) -> torch.Tensor:
            return check_scores(self.name, work(rows).detach().float().cpu(), texts[rows], rows.start)

        for part in in_parts(len(texts), size, checked, what=f"scoring with {self.name}", each=each, largest=largest):
            scores.append(part)
            progress.advance(len(part))
        return torch.cat(scores)


def check_scores(
    name: str, scores: torch.Tensor, texts: Sequence[str], first: int = 0, *, of: str = "", then: str = ""
) -> torch.Tensor:
    """Return one finite score for each text, or raise NonFiniteError naming the reward `name` and the first bad one.

    `first` is how many images came before these; `of` words how many there are in all, `then` what came of it.
    """
    if scores.shape != (len(texts),):
        raise NonFiniteError(f"{name} returned scores of shape {tuple(scores.shape)} for {len(texts)} images.")
    bad = torch.nonzero(~torch.isfinite(scores)).flatten().tolist()
    if bad:
        number, value = first + bad[0] + 1, scores[bad[0]].item()
        raise NonFiniteError(f"{name} scored picture {number}{of} as {value} (prompt {texts[bad[0]]!r}).{then}")
    return scores


def check_not_empty(name: str, texts: Sequence[str]) -> None:
    """Raise InputError when one of the texts is blank, for the reward `name` that compares with it."""
    empty = [i for i, text in enumerate(texts) if not text.strip()]
    if empty:
        raise InputError(
            "prompts",
            texts[empty[0]],
            f"{name} compares a picture with its prompt; "
            f"image {empty[0] + 1} of {len(texts)} has none. Connect prompts or type one.",
        )


def one_prompt_each(prompts: str | Sequence[str], count: int) -> list[str]:
    """Return `count` prompts from one or from `count`. Raises InputError."""
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    check_prompts(texts)
    if len(texts) == 1:
        texts = texts * count
    if len(texts) != count:
        raise InputError("prompts", len(texts), f"There are {count} images; give one prompt, or one for each.")
    return texts

"""`KnownReward`: a reward's entry in the registry, which stands at the end of its own file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..core.assets import asset_folder
from .files import RewardFile
from .statistics import Statistics

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .reward import EmbedFunction, OverflowFunction, PictureFunction, ScoreFunction


class Scorer(Protocol):
    """What scores, as a reward's `build` returns it: the fields of a `Reward` that are not in its entry.

    `settings` are what decides its scores besides its files, for the fingerprint.
    """

    @property
    def score(self) -> ScoreFunction: ...

    @property
    def picture_score(self) -> PictureFunction: ...

    @property
    def gradient_score(self) -> ScoreFunction | None: ...

    @property
    def overflow(self) -> OverflowFunction | None: ...

    @property
    def embed(self) -> EmbedFunction | None: ...

    @property
    def modules(self) -> Mapping[str, nn.Module]: ...

    @property
    def settings(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class KnownReward:
    """A reward that can be loaded by name.

    Attributes:
        name: what the user picks.
        build: makes its scorer of the paths of `files`, or of `shipped`, and the number format of its network.
        needs_prompt: whether it compares with a text.
        meaning: range and meaning of a score.
        source: paper and code.
        files: the official files it is read from, in the order `build` takes them.
        shipped: files of `assets/` that it is read from instead, as "folder/name".
        statistics: mean and standard deviation of its scores, where somebody measured them.
    """

    name: str
    build: Callable[[Sequence[Path], torch.dtype], Scorer]
    needs_prompt: bool
    meaning: str
    source: str
    files: tuple[RewardFile, ...] = ()
    shipped: tuple[str, ...] = ()
    statistics: Statistics | None = None

    def shipped_files(self) -> list[Path]:
        """Return where the `shipped` files are."""
        return [asset_folder(folder) / file for folder, file in (path.split("/") for path in self.shipped)]

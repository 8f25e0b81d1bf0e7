"""What a search found: pictures with their scores, what they are made from, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .meter import Cost

if TYPE_CHECKING:
    from ..ranking.table import ScoreTable


class Rival(NamedTuple):
    """The best of n pictures for the same network evaluations: how many pictures, and their best score."""

    pictures: int
    score: float


class Outcome(NamedTuple):
    """One prompt's search.

    Attributes:
        best: its best score.
        pictures: how many whole pictures it made.
        cost: what it spent.
        rival: the best of n at the same cost, where it is known.
        note: what there is to say, such as a limit that was reached.
    """

    prompt: str
    best: float
    pictures: int
    cost: Cost
    rival: Rival | None
    note: str


@dataclass(frozen=True, eq=False)
class Found:
    """All whole pictures of a search, prompt after prompt, best first within each.

    Attributes:
        images: (B, H, W, 3) in [0, 1].
        latents: (B, C, h, w), scaled as the UNet sees them.
        prompts: B.
        seeds: B, of the first noise.
        scores: every column of the reward, its own first: (B,).
        made: B records to make the picture from again, see `again`.
        outcomes: one a prompt.
        method: by its name in `METHODS`.
    """

    images: torch.Tensor
    latents: torch.Tensor
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: Mapping[str, torch.Tensor]
    made: tuple[dict[str, Any], ...]
    outcomes: tuple[Outcome, ...]
    method: str

    @property
    def cost(self) -> Cost:
        """What all prompts cost together."""
        return sum((outcome.cost for outcome in self.outcomes), Cost())

    @property
    def first(self) -> list[int]:
        """Rows of each prompt's best picture."""
        rows, start = [], 0
        for outcome in self.outcomes:
            rows.append(start)
            start += outcome.pictures
        return rows

    def table(self) -> ScoreTable:
        """Return the pictures as a table of scores, unranked."""
        from ..ranking.table import ScoreTable

        extras = {"latents": self.latents}
        main = next(iter(self.scores))
        return ScoreTable(self.images, self.prompts, self.seeds, self.scores, main, extras=extras, made=self.made)


def report(found: Found) -> str:
    """Word a search: the meter, what it found, and the best of n at the same cost."""
    cost = found.cost
    lines = [
        f"{found.method}: {cost.evaluations:,} network evaluations, {cost.decodes:,} decodes, {cost.scorings:,} "
        f"scorings, {cost.seconds:.1f} s"
    ]
    rivals = [(outcome.best, outcome.rival) for outcome in found.outcomes if outcome.rival is not None]
    if rivals:
        ours = sum(best for best, _ in rivals) / len(rivals)
        others = sum(rival.score for _, rival in rivals) / len(rivals)
        wins = sum(best > rival.score for best, rival in rivals)
        ties = sum(best == rival.score for best, rival in rivals)
        count = len(rivals)
        lines.append(
            f"best score {ours:.3f}; best of {rivals[0][1].pictures} for the same network evaluations {others:.3f}"
            + (f" ({wins} of {count} prompts better, {ties} equal)" if count > 1 else "")
        )
    else:
        mean = sum(outcome.best for outcome in found.outcomes) / len(found.outcomes)
        lines.append(f"best score {mean:.3f}; set compare to on to see what best of n makes of the same budget")
    lines += [
        f"- {outcome.prompt or 'no prompt'}: {outcome.best:.3f}, {outcome.pictures} pictures"
        + (f"; best of {outcome.rival.pictures}: {outcome.rival.score:.3f}" if outcome.rival else "")
        + (f"; {outcome.note}" if outcome.note else "")
        for outcome in found.outcomes[:50]
    ]
    return "\n".join(lines)

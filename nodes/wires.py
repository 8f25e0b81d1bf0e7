"""The pack's own wire types, and what travels on the one that has no class of its own."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io

TasteModel = io.Custom("TASTE_MODEL")
TastePrompts = io.Custom("TASTE_PROMPTS")
TasteReward = io.Custom("TASTE_REWARD")
TasteScores = io.Custom("TASTE_SCORES")
TastePictures = io.Custom("TASTE_PICTURES")
TasteOptions = io.Custom("TASTE_OPTIONS")
TasteTraining = io.Custom("TASTE_TRAINING")
TasteSearch = io.Custom("TASTE_SEARCH")
TasteReport = io.Custom("TASTE_REPORT")
TasteVotes = io.Custom("TASTE_VOTES")
TasteEvaluation = io.Custom("TASTE_EVALUATION")

CATEGORY = "Tastemaker"


@dataclass(frozen=True)
class PromptList:
    """Prompts on a TASTE_PROMPTS wire; `seeds` come along once pictures were made from them, None where unknown."""

    texts: tuple[str, ...]
    seeds: tuple[int | None, ...] | None = None


def as_prompts(value: PromptList | str | None) -> PromptList:
    """Return what came over a wire that takes TASTE_PROMPTS or STRING; one empty prompt where nothing is connected."""
    if value is None:
        return PromptList(("",))
    return PromptList((value,)) if isinstance(value, str) else value

"""The pack's own wire types, and what travels on the one that has no class of its own."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io

from ..core.errors import InputError

TasteModel = io.Custom("TASTE_MODEL")
TastePrompts = io.Custom("TASTE_PROMPTS")
TasteReward = io.Custom("TASTE_REWARD")
TasteScores = io.Custom("TASTE_SCORES")
TastePictures = io.Custom("TASTE_PICTURES")
TasteOptions = io.Custom("TASTE_OPTIONS")
TasteTraining = io.Custom("TASTE_TRAINING")
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
    """What came over a wire that takes TASTE_PROMPTS or STRING. Raises InputError."""
    if value is None:
        return PromptList(("",))
    if isinstance(value, str):
        return PromptList((value,))
    if isinstance(value, PromptList):
        return value
    raise InputError("prompts", type(value).__name__, "Connect Prompts, or any node that makes a text.")


def prompts_input(tooltip: str, *, optional: bool = False) -> io.Input:
    """An input that takes TASTE_PROMPTS or a plain STRING wire."""
    return io.MultiType.Input("prompts", types=[TastePrompts, io.String], tooltip=tooltip, optional=optional)

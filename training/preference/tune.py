"""`preference_tune`, the public door: preferences to a tuned model, in the same loop as `finetune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...core.errors import InputError
from ...core.progress import Place, Progress
from ...loaders.model import DiffusionModel
from ..algorithms.preference import Preference, check_group_sizes
from ..loop import FineTune, check_prompt_list, check_shared, outside_inference_mode
from ..processes import SingleProcess
from ..scoring import RewardFunction, Scorer
from ..worker import Worker
from .config import PreferenceConfig
from .heldout import HeldOutPairs
from .preferences import Preferences


def preference_tune(
    model: DiffusionModel,
    preferences: Preferences,
    config: PreferenceConfig,
    *,
    run_folder: str | Path | None = None,
    negative_prompt: str = "",
    place: Place | None = None,
    progress: Progress | None = None,
    held_out_prompts: Sequence[str] | None = None,
    watched_reward: RewardFunction | None = None,
    processes: SingleProcess | None = None,
) -> FineTune:
    """Fine-tune a model on preferences; iterate over the result to train, an epoch at a time.

    No reward and no sampling: pictures are encoded once and learned from as they are. Those of another size than
    `config` says (the model's own where it says none) are scaled to fill it and cut in the middle.

    Args:
        model: from `load_diffusion_model`; it is not changed.
        preferences: what to learn from; see `sources`. An unconditional model reads none of its prompts.
        config: everything else.
        run_folder: where to keep the run; the same folder resumes it. None keeps nothing.
        negative_prompt: for grids and comparisons, which are sampled with guidance.
        place, progress, processes: as in `finetune`.
        held_out_prompts: for a comparison of pictures by `watched_reward`; None takes those of the held-out pairs.
        watched_reward: a reward to compare the tuned model's pictures with the base's by. Nothing is learned from it.

    Raises:
        InputError: what cannot be learned from, trained or resumed, by name, before anything runs.
        ModelFileError, OutOfMemoryError: as `finetune`.
    """
    if not isinstance(config, PreferenceConfig):
        raise InputError("config", type(config).__name__, "Learning from preferences takes a PreferenceConfig.")
    preferences = preferences if model.conditional else preferences.without_prompts()
    check_group_sizes(preferences, config)
    check_prompt_list(model, preferences.prompts, negative_prompt)
    known, held_out = preferences.split(config.held_out_share if config.evaluate_every else 0.0, config.seed)
    texts = list(dict.fromkeys(group.prompt for group in known))
    unseen = [p for p in dict.fromkeys(group.prompt for group in held_out) if p not in texts]
    asked = held_out_prompts or (unseen if model.conditional and config.evaluate_every else None)
    processes = processes or SingleProcess()
    check_shared(config, config.samples_per_epoch // config.group_size, processes)
    pairs = HeldOutPairs(model, config, texts, asked, watched_reward, held_out)
    with outside_inference_mode():
        schedule = Preference.schedule(model, config)
        worker = Worker(model, config, negative_prompt, place, processes, schedule)
        algorithm = Preference(worker, Scorer([], config, processes), preferences, known)
        remark = " ".join((*preferences.remarks, *_cut(preferences, worker.size)))
        return FineTune(algorithm, texts, pairs, progress, run_folder, remark)


def _cut(preferences: Preferences, size: tuple[int, int]) -> list[str]:
    """Say how many pictures have another size than is learned at."""
    sizes = [preferences.pictures.size(i) for i in {i for group in preferences.groups for i in group.pictures}]
    other = sum(one != size for one in sizes)
    if not other:
        return []
    return [f"{other:,} of {len(sizes):,} pictures were scaled and cut to {size[1]} x {size[0]} pixels."]


def with_size_of(config: PreferenceConfig, preferences: Preferences, model: DiffusionModel) -> PreferenceConfig:
    """Return a config that learns at the pictures' own size, where they share one that the model can make.

    A size that the config states stays, and so does an unconditional model's.
    """
    sizes = {preferences.pictures.size(i) for group in preferences.groups for i in group.pictures}
    [(height, width), *others] = sizes
    fits = not others and not height % model.size_multiple and not width % model.size_multiple
    if not model.conditional or config.height or config.width or not fits:
        return config
    return replace(config, height=height, width=width)

"""`finetune`: everything that is checked before a run starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..loaders.model import DiffusionModel
from ..sampling.inputs import prompts_each
from .config import DDPOConfig
from .heldout import HeldOut
from .loop import FineTune, outside_inference_mode
from .processes import Alone
from .run.report import OnProgress
from .scoring import RewardFunction, Rewards
from .worker import Worker

if TYPE_CHECKING:
    from ..core.progress import Place


def check_prompt_list(model: DiffusionModel, prompts: str | Sequence[str], negative_prompt: str = "") -> list[str]:
    """The distinct prompts to train on, in their order. Raises InputError for none and for unreadable ones."""
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not model.conditional:
        texts = texts or [""]
    texts = prompts_each(model, texts, negative_prompt, len(texts)) if texts else []
    if not texts or (model.conditional and not all(t.strip() for t in texts)):
        raise InputError("prompts", prompts, "There is nothing to train on: type at least one prompt, none empty.")
    return list(dict.fromkeys(texts))


def finetune(
    model: DiffusionModel,
    reward: Rewards,
    prompts: str | Sequence[str],
    config: DDPOConfig,
    *,
    run_folder: str | Path | None = None,
    negative_prompt: str = "",
    place: Place | None = None,
    on_progress: OnProgress | None = None,
    held_out_prompts: Sequence[str] | None = None,
    watched_reward: RewardFunction | None = None,
    processes: Alone | None = None,
) -> FineTune:
    """Fine-tune a model on a reward with DDPO; iterate over the result to train, an epoch at a time.

    Args:
        model: from `load_diffusion_model`; it is not changed, and its modules are shared, not copied.
        reward: `reward(images, prompts) -> scores`, or several as (reward, weight) pairs, each normalised
            before it is weighed. A reward with `columns` is trained on its first column.
        prompts: what to train on; empty for unconditional models.
        config: everything else; see `DDPOConfig` and `preset`.
        run_folder: where to keep the run; the same folder resumes it. None keeps nothing.
        negative_prompt: what guidance leads away from.
        place: as `sample`'s: puts modules where they compute.
        on_progress: told after each denoising step and each batch of learning; what it raises stops the run.
        held_out_prompts: for the comparison every `evaluate_every` epochs; None takes the training
            prompts, with seeds that are not trained on.
        watched_reward: a reward that is not trained on, for the comparison and for stopping early. It and
            `held_out_prompts` need `evaluate_every` above 0.
        processes: several processes that train together; see `training.processes`.

    Raises:
        InputError: what cannot be trained or resumed, by name, before anything runs.
        ModelFileError: no checkpoint of the run folder can be read.
        OutOfMemoryError: learning, or an epoch's pictures, would take more than is free.
    """
    texts = check_prompt_list(model, prompts, negative_prompt)
    held_out = HeldOut(model, config, texts, held_out_prompts, watched_reward)
    processes = processes or Alone()
    groups = config.samples_per_epoch // config.group_size if model.conditional else config.samples_per_epoch
    if groups % processes.world:
        raise InputError(
            "samples_per_epoch",
            config.samples_per_epoch,
            f"Its groups cannot be shared by {processes.world} processes.",
        )
    with outside_inference_mode():
        worker = Worker(model, config, negative_prompt, place, processes)
        return FineTune(worker, reward, texts, on_progress, held_out, run_folder)

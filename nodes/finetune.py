"""Fine-Tune, its settings, and Reward Curve: a reward to a LoRA, in the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..training import PRESETS, FineTuneConfig
from ..training.algorithms.registry import ALGORITHMS
from ..training.presets import preset_values
from . import host
from .checked import checked
from .inputs import prompts_input, widgets
from .listing import schema
from .live import LiveRun
from .wires import (
    CATEGORY,
    PromptList,
    TasteModel,
    TasteReport,
    TasteReward,
    TasteTraining,
    as_prompts,
)

if TYPE_CHECKING:
    import torch

    from ..core.progress import Progress
    from ..loaders import DiffusionModel
    from ..rewards import Reward
    from ..training import EpochReport

ON_NODE = ("epochs", "samples_per_epoch", "steps", "learning_rate", "rank", "seed")
IN_SETTINGS = tuple(spec.name for spec in fields(FineTuneConfig) if spec.name not in ON_NODE)
AUTO, FROM_SETTINGS = "auto", "from settings"
MAX_TITLE = 200


class TastemakerFineTune(io.ComfyNode):
    """Teaches a model to please a reward."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerFineTune",
            display_name="Fine-Tune",
            category=CATEGORY,
            description="Teaches a model to please a reward (DDPO, reinforcement learning): it makes pictures, the "
            "reward scores them, and what made the better ones becomes more likely. The result is a LoRA.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                TasteModel.Input("model", tooltip="From Load Taste Model. It stays as it is."),
                TasteReward.Input("reward", tooltip="What to please: from Load Reward or Combine Rewards."),
                prompts_input(
                    "What to practise on, ten or more are better than one. For an unconditional model: the one text "
                    "that the reward compares its pictures with, or nothing.",
                    optional=True,
                ),
                io.String.Input(
                    "run_name",
                    default="my taste",
                    tooltip="Folder of this run in output/tastemaker/runs. The same name goes on where it stopped; a "
                    "new name starts anew.",
                ),
                io.Combo.Input(
                    "preset",
                    options=[AUTO, *PRESETS, FROM_SETTINGS],
                    default=AUTO,
                    tooltip="How much graphics memory there is: sets picture size, batch sizes and the layers that "
                    "learn; CPU, for the tiny models, more. auto looks; from settings sets nothing. What was changed "
                    "in connected settings stays.",
                ),
                *widgets(FineTuneConfig, *ON_NODE),
                TasteTraining.Input(
                    "settings", optional=True, tooltip="From Fine-Tune Settings: everything that is rarely changed."
                ),
                prompts_input(
                    "What it does not practise on: prompts for the comparison with the untrained model. It "
                    "needs evaluate_every in the settings. Without them the prompts above, from other seeds.",
                    "held_out_prompts",
                    optional=True,
                ),
                TasteReward.Input(
                    "watched_reward",
                    optional=True,
                    tooltip="A reward that is not trained on, for that comparison and for patience in the settings.",
                ),
                io.Combo.Input(
                    "algorithm",
                    options=[AUTO, *ALGORITHMS],
                    default=AUTO,
                    optional=True,
                    tooltip="How it learns. auto goes on as the run began; a new run takes the way that suits model "
                    "and reward, or what the settings say. "
                    + " ".join(f"{name}: {known.tip}" for name, known in ALGORITHMS.items()),
                ),
            ],
            outputs=training_outputs(),
        )

    @classmethod
    @checked(called={"run_folder": "run_name"})
    def execute(
        cls,
        model: DiffusionModel,
        reward: Reward,
        run_name: str,
        preset: str,
        prompts: PromptList | str | None = None,
        settings: FineTuneConfig | None = None,
        held_out_prompts: PromptList | str | None = None,
        watched_reward: Reward | None = None,
        algorithm: str = AUTO,
        **on_node: Any,
    ) -> io.NodeOutput:
        from ..training import finetune

        folder = host.run_folder(run_name)
        way = chosen_algorithm(algorithm, preset, settings, model, reward, folder)
        config = merged(preset, settings, {**on_node, **way}, model)
        texts = () if prompts is None else as_prompts(prompts).texts
        text = ""
        if not model.conditional and texts:
            text, texts = one_text(texts), ()
        live = LiveRun(cls.hidden.unique_id, config.epochs, folder)
        with host.loading():
            run = finetune(
                model,
                HostedReward(reward, text),
                texts,
                config,
                run_folder=folder,
                place=host.in_use,
                progress=live,
                held_out_prompts=None if held_out_prompts is None else as_prompts(held_out_prompts).texts,
                watched_reward=None if watched_reward is None else HostedReward(watched_reward, text),
            )
            return live.trained(run)


def training_outputs() -> list[io.Output]:
    """Return what nodes that train give out."""
    return [
        TasteModel.Output(display_name="model", tooltip="The tuned model, for Sample."),
        io.LoraModel.Output(display_name="lora", tooltip="For ComfyUI's Load LoRA Model and Save LoRA Weights."),
        io.LossMap.Output(display_name="loss", tooltip="For ComfyUI's Plot Loss Graph."),
        TasteReport.Output(display_name="report", tooltip="For Reward Curve."),
    ]


def merged(
    name: str, settings: FineTuneConfig | None, on_node: dict[str, Any], model: DiffusionModel
) -> FineTuneConfig:
    """Put the node's widgets over settings that were changed, over what the preset says."""
    base = settings or FineTuneConfig()
    chosen: dict[str, Any] = {}
    if name != FROM_SETTINGS:
        name = fitting_preset() if name == AUTO else name
        given = {spec.name: (getattr(base, spec.name), spec.default) for spec in fields(FineTuneConfig)}
        changed = {key: value for key, (value, default) in given.items() if value != default and key not in ON_NODE}
        if "algorithm" in on_node:
            changed["algorithm"] = on_node["algorithm"]
        chosen = preset_values(name, changed, model)
        pictures = on_node["samples_per_epoch"]
        if "group_size" in chosen and type(pictures) is int:  # no error about a number that is not on the node
            chosen["group_size"] = max(math.gcd(chosen["group_size"], pictures), 2)
    return replace(base, **{k: v for k, v in chosen.items() if k not in ON_NODE}, **on_node)


def chosen_algorithm(
    algorithm: str,
    preset: str,
    settings: FineTuneConfig | None,
    model: DiffusionModel,
    reward: Reward,
    folder: Path,
) -> dict[str, str]:
    """Return the algorithm to set, if any: the node's; of auto the run's own, the settings', or the one that suits."""
    from ..training.presets import best_algorithm
    from ..training.run.folder import algorithm_of

    if algorithm != AUTO:
        return {"algorithm": algorithm}
    if preset == FROM_SETTINGS or (settings is not None and settings.algorithm != FineTuneConfig.algorithm):
        return {}
    begun = algorithm_of(folder)
    if begun in ALGORITHMS:
        return {"algorithm": begun}
    return {"algorithm": best_algorithm(fitting_preset() if preset == AUTO else preset, model, reward)}


def fitting_preset() -> str:
    """Return the largest preset that the device has the memory for."""
    there = host.device_gigabytes()
    sizes = {name: float(name.split()[0]) for name in PRESETS if name.endswith(" GB")}
    fitting = [name for name, size in sizes.items() if there >= 0.9 * size]  # cards report a little less
    if fitting:
        return max(fitting, key=sizes.__getitem__)
    return "CPU" if there == 0 else min(sizes, key=sizes.__getitem__)


def one_text(texts: tuple[str, ...], name: str = "prompts") -> str:
    """Return the text an unconditional model's pictures are compared with. Raises InputError for several."""
    if len(texts) != 1:
        raise InputError(name, f"{len(texts)} prompts", "An unconditional model reads none; give the reward one.")
    return texts[0]


class HostedReward:
    """A reward whose networks the host puts in place each time it scores.

    `text`, where there is one, is what every picture is compared with, whatever its own prompt. Gradients go through
    `with_gradient` while whoever learns from them keeps `modules` in place.
    """

    def __init__(self, reward: Reward, text: str = "") -> None:
        from ..training.scoring import combined_parts

        self.name, self._reward, self._text = reward.name, reward, text
        self.fingerprint = f"{reward.fingerprint}:{text}" if text else reward.fingerprint
        self.column_weights = dict(combined_parts(reward))  # each part gets advantages of its own
        self.differentiable, self.modules = reward.differentiable, reward.modules

    def __call__(
        self, images: torch.Tensor, prompts: Sequence[str], *, progress: Progress | None = None
    ) -> torch.Tensor:
        return next(iter(self.columns(images, prompts, progress=progress).values()))

    def columns(
        self, images: torch.Tensor, prompts: Sequence[str], *, progress: Progress | None = None
    ) -> dict[str, torch.Tensor]:
        with host.in_use(self._reward.modules.values()):
            return self._reward.columns(images, self._text or prompts, progress=progress)

    def with_gradient(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return self._reward.with_gradient(images, self._text or prompts)


class TastemakerFineTuneSettings(io.ComfyNode):
    """Rarely changed settings of Fine-Tune."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerFineTuneSettings",
            display_name="Fine-Tune Settings",
            category=CATEGORY,
            description="Rarely changed settings of Fine-Tune. As it comes it changes nothing.",
            inputs=widgets(FineTuneConfig, *IN_SETTINGS),
            outputs=[TasteTraining.Output(display_name="settings", tooltip="For Fine-Tune.")],
        )

    @classmethod
    @checked
    def execute(cls, **settings: Any) -> io.NodeOutput:
        # how many pictures there are is said on Fine-Tune, which looks whether the two go together
        size = settings["group_size"]
        pictures = size * -(-FineTuneConfig.samples_per_epoch // size)
        return io.NodeOutput(FineTuneConfig(**settings, samples_per_epoch=pictures))


class TastemakerRewardCurve(io.ComfyNode):
    """A training run as a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerRewardCurve",
            display_name="Reward Curve",
            category=CATEGORY,
            description="Draws a training run: reward with its standard deviation, and what its algorithm reports, "
            "such as loss and distance from the base.",
            is_output_node=True,
            inputs=[
                TasteReport.Input("report", tooltip="From Fine-Tune."),
                io.String.Input("title", default="", tooltip="Stands above the curves. Empty: epochs and pictures."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The curves, for Save Image.")],
        )

    @classmethod
    @checked
    def execute(cls, report: tuple[EpochReport, ...], title: str) -> io.NodeOutput:
        from ..images.convert import from_pil
        from ..training.run.curve import curve

        if len(title) > MAX_TITLE:
            raise InputError("title", title, f"At most {MAX_TITLE} characters.")
        picture = curve(report, title=" ".join(title.split()))
        return io.NodeOutput(from_pil(picture), ui={"images": [host.preview_entry(picture, "curve")]})

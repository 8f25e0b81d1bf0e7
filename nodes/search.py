"""Search and its settings: a model, prompts, a reward and a budget to the best pictures."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..sampling import SampleOptions, SampleSettings
from ..search import SearchSettings
from . import host
from .checked import checked
from .inputs import prompts_input, widgets
from .listing import schema
from .live_search import LiveSearch
from .wires import (
    CATEGORY,
    PromptList,
    TasteModel,
    TasteOptions,
    TasteReward,
    TasteScores,
    TasteSearch,
    as_prompts,
)

if TYPE_CHECKING:
    from ..loaders import DiffusionModel
    from ..rewards import Reward

ON_NODE = ("method", "budget", "keep", "seed", "compare")
IN_SETTINGS = tuple(spec.name for spec in fields(SearchSettings) if spec.name not in ON_NODE)
SAMPLING = tuple(spec.name for spec in fields(SampleSettings) if spec.name != "denoise")


class TastemakerSearch(io.ComfyNode):
    """Spends a budget on the best pictures it can find."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerSearch",
            display_name="Search",
            category=CATEGORY,
            description="Spends a budget of compute on the best pictures it can find by a reward, and says whether "
            "plain best-of-N would have done as well.",
            inputs=[
                TasteModel.Input("model", tooltip="From Load Taste Model."),
                prompts_input(
                    "From Prompts, or any text. Leave it unconnected for unconditional models.", optional=True
                ),
                TasteReward.Input("reward", tooltip="What is searched by, from Load Reward or a taste."),
                *widgets(SearchSettings, *ON_NODE),
                io.String.Input(
                    "negative_prompt", default="", tooltip="What should not be in the picture. May stay empty."
                ),
                *widgets(SampleSettings, *SAMPLING),
                TasteSearch.Input(
                    "settings",
                    optional=True,
                    tooltip="From Search Settings: of each method, and limits.",
                ),
                TasteOptions.Input("options", optional=True, tooltip="From Sample Options: what is rarely changed."),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                TasteScores.Output(display_name="scores", tooltip="The kept pictures, for Save Ranked or Rank."),
                io.Image.Output(display_name="images", tooltip="The kept pictures, each prompt's best first."),
                io.String.Output(display_name="report", tooltip="What it cost, and best-of-N for the same."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: DiffusionModel,
        reward: Reward,
        negative_prompt: str,
        prompts: PromptList | str | None = None,
        settings: SearchSettings | None = None,
        options: SampleOptions | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        from ..search import search

        texts = as_prompts(prompts).texts
        live = LiveSearch(cls.hidden.unique_id, texts)
        on_node = {name: widgets.pop(name) for name in ON_NODE if name in widgets}
        with host.loading():
            found = search(
                model,
                texts,
                reward,
                replace(settings or SearchSettings(), **on_node),
                negative_prompt=negative_prompt,
                sampling=SampleSettings(**widgets),
                options=options,
                progress=live,
                place=host.in_use,
                on_look=live.look,
            )
        return io.NodeOutput(found.table(), found.images, found.report, ui=live.final(found.report))


class TastemakerSearchSettings(io.ComfyNode):
    """Settings of Search that belong to one method, and limits beside the budget."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerSearchSettings",
            display_name="Search Settings",
            category=CATEGORY,
            description="What is particular to each method of Search, and limits beside its budget. As it comes it "
            "changes nothing.",
            inputs=widgets(SearchSettings, *IN_SETTINGS),
            outputs=[TasteSearch.Output(display_name="settings", tooltip="For Search.")],
        )

    @classmethod
    @checked
    def execute(cls, **settings: Any) -> io.NodeOutput:
        return io.NodeOutput(SearchSettings(**settings))

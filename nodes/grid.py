"""Grid: the same prompts and seeds under every combination of two or three settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..search.grid.plan import GridSettings, make_plan
from . import host
from .checked import checked
from .inputs import prompts_input, widgets
from .listing import schema
from .wires import CATEGORY, PromptList, TasteModel, TasteOptions, TasteReward, TasteScores, as_prompts

if TYPE_CHECKING:
    from ..loaders import DiffusionModel
    from ..rewards import Reward
    from ..sampling import SampleOptions

MOST_MODELS = 5


class TastemakerGrid(io.ComfyNode):
    """Compares settings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        from ..sampling import SampleSettings

        more = "Another model to compare, where model is an axis."
        return schema(
            node_id="TastemakerGrid",
            display_name="Grid",
            category=CATEGORY,
            description="Compares settings: the same prompts and seeds under every combination of two or three of "
            "them, each scored, on one labelled sheet. What was made before is not made again.",
            is_output_node=True,
            inputs=[
                TasteModel.Input("model", tooltip="From Load Taste Model or Load Taste LoRA."),
                TasteReward.Input("reward", tooltip="From Load Reward: what judges the pictures."),
                prompts_input("From Prompts, or any text. Leave it out for unconditional models.", optional=True),
                *(TasteModel.Input(f"model_{n}", optional=True, tooltip=more) for n in range(2, MOST_MODELS + 1)),
                *widgets(GridSettings),
                io.String.Input(
                    "negative_prompt", default="", tooltip="What should not be in the pictures. May stay empty."
                ),
                *widgets(SampleSettings, "scheduler", "steps", "guidance_scale", "height", "width"),
                TasteOptions.Input("options", optional=True, tooltip="From Sample Options: what is rarely changed."),
            ],
            outputs=[
                TasteScores.Output(display_name="scores", tooltip="All pictures with their scores, for Rank."),
                io.Image.Output(display_name="sheet", tooltip="The labelled sheet, one a page, for Save Image."),
                io.Image.Output(display_name="best", tooltip="The pictures of the best cell."),
                io.String.Output(display_name="report", tooltip="Which settings are best, and how sure that is."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: DiffusionModel,
        reward: Reward,
        negative_prompt: str,
        prompts: PromptList | str | None = None,
        options: SampleOptions | None = None,
        **given: Any,
    ) -> io.NodeOutput:
        import torch

        from ..images.convert import from_pil
        from ..ranking.cache import ScoreCache
        from ..sampling import SampleSettings
        from ..search.grid.cells import CellCache
        from ..search.grid.means import in_words
        from ..search.grid.run import run_grid
        from ..search.grid.sheet import sheet
        from .live_grid import LiveGrid

        models = [model, *(given.pop(f"model_{n}", None) for n in range(2, MOST_MODELS + 1))]
        connected = [one for one in models if one is not None]
        asked = GridSettings(**{name: given.pop(name) for name in GridSettings.__dataclass_fields__})
        varies = "lora_strength" in (asked.columns, asked.rows, asked.pages)
        names = [_called(one, varies=varies) for one in connected]
        plan = make_plan(asked, SampleSettings(**given), as_prompts(prompts).texts, names)
        cells = CellCache(host.cells_folder())
        live = LiveGrid(cls.hidden.unique_id, plan, cells.folder)
        with host.loading(), ScoreCache(host.score_cache()) as scores:
            grid = run_grid(
                plan,
                connected,
                reward,
                cells=cells,
                negative_prompt=negative_prompt,
                options=options,
                scores=scores,
                place=host.in_use,
                progress=live,
                on_picture=live.made,
            )
        pages = [sheet(grid, page) for page in range(len(plan.pages))]
        report = in_words(plan, grid.means, grid.table.main)
        ui = live.final(grid, report, [host.preview_entry(page, "grid") for page in pages])
        count = len(plan.variants)
        best = grid.table.rows(range(grid.means.best * count, (grid.means.best + 1) * count)).images
        return io.NodeOutput(grid.table, torch.cat([from_pil(page) for page in pages]), best, report, ui=ui)


def _called(model: DiffusionModel, *, varies: bool) -> str:
    """Return a model's name with its LoRAs, "sdxl + pastel 0.7"; the last one's strength only where it is no axis."""
    loras = [f"{one.lora.name.removesuffix('.safetensors')} {one.strength:g}" for one in model.loras]
    if varies and loras:
        loras[-1] = loras[-1].rpartition(" ")[0]
    return " + ".join([model.name.removesuffix(".safetensors"), *loras])

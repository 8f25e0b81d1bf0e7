"""Evaluate: how good a model is, in the figures that papers use."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..evaluation.protocols import PROTOCOLS, PromptRow
from ..evaluation.settings import MAX_PICTURES, EvaluationSettings
from ..sampling import SampleSettings
from . import host
from .checked import checked
from .features import NOT_STORED, extractor_for, features_inputs, stored_input, stored_statistics
from .inputs import pictures_input, prompts_input, widgets
from .listing import schema
from .wires import CATEGORY, PromptList, TasteEvaluation, TasteModel, TasteOptions, TasteReward, as_prompts

if TYPE_CHECKING:
    import torch

    from ..evaluation.fid.features import Extractor
    from ..evaluation.references import Reference
    from ..evaluation.sources import Source
    from ..images.pictures import Pictures
    from ..loaders import DiffusionModel
    from ..rewards import Reward
    from ..sampling import SampleOptions

CONNECTED, NO_FEATURES = "connected prompts", "none"
SAMPLING = tuple(spec.name for spec in fields(SampleSettings) if spec.name != "denoise")
# what the library calls otherwise than this node
_CALLED = {"run_folder": "title", "run_name": "title", "rewards": "reward", "pictures": "images", "metadata": "folder"}
MEASURING = tuple(spec.name for spec in fields(EvaluationSettings))


class TastemakerEvaluate(io.ComfyNode):
    """Measures a model, or finished pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerEvaluate",
            display_name="Evaluate",
            category=CATEGORY,
            description="Measures a model: samples its pictures, or takes finished ones, and finds the mean of a "
            "reward, FID and KID against real pictures, and how different the pictures of one prompt are, each with "
            "its interval. It goes on where it stopped. Two of these make a Report.",
            is_output_node=True,
            inputs=[
                TasteModel.Input("model", optional=True, tooltip="The model to measure. Or connect images."),
                pictures_input(
                    "images",
                    "Finished pictures to measure instead: as many of every prompt, in the prompts' order.",
                    optional=True,
                ),
                prompts_input("What to sample, one picture or more of each.", optional=True),
                TasteReward.Input(
                    "reward", optional=True, tooltip="Whose mean is measured; a combined one's parts too."
                ),
                pictures_input("reference", "Real pictures: FID and KID say how far from them.", optional=True),
                TasteOptions.Input("options", optional=True, tooltip="From Sample Options."),
                io.String.Input(
                    "title",
                    default="before",
                    tooltip="The model's name in the report, and its folder's in output/tastemaker/evaluations.",
                ),
                io.Combo.Input(
                    "protocol",
                    options=[CONNECTED, *PROTOCOLS],
                    default=CONNECTED,
                    tooltip="connected prompts: those above. mjhq-30k, coco-2014, parti-prompts: what papers measure "
                    "by, own: your prompts.txt; read from the folder below, real pictures included.",
                ),
                io.Combo.Input(
                    "folder",
                    options=host.picture_folders(),
                    default="input",
                    tooltip="The protocol's folder, below ComfyUI's input or output folder. Unused by connected "
                    "prompts.",
                ),
                io.Int.Input(
                    "count",
                    default=0,
                    min=0,
                    max=MAX_PICTURES,
                    tooltip="Prompts taken of a protocol, as many of each category as can be. 0: as published.",
                ),
                *features_inputs([NO_FEATURES], "none: no FID, no KID, no diversity."),
                io.String.Input("negative_prompt", default="", tooltip="What should not be in the pictures."),
                *widgets(EvaluationSettings),
                *widgets(SampleSettings, *SAMPLING),
                stored_input(),
            ],
            outputs=[
                TasteEvaluation.Output(display_name="evaluation", tooltip="For Report."),
                io.String.Output(display_name="text", tooltip="The figures as a table."),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: object = None, stored: object = None) -> bool:
        """Leave the checks of `folder` and `stored` to execute, which says what to do."""
        return True

    @classmethod
    def fingerprint_inputs(cls, protocol: str, folder: str, **_: Any) -> str:
        """Run again when the folder of a protocol changes."""
        from ..evaluation.protocols import metadata_file
        from ..images.folder import changes
        from ..loaders.formats.fingerprint import changes as file_changes

        if protocol == CONNECTED:
            return ""
        try:
            place = host.picture_folder(folder)
            return f"{changes(place, recursive=True)} {file_changes(metadata_file(protocol, place))}"
        except InputError as e:  # execute says it to the user
            return str(e)

    @classmethod
    @checked(looked_up=("folder", "stored"), called=_CALLED)
    def execute(
        cls,
        title: str,
        protocol: str,
        folder: str,
        count: int,
        features: str,
        resize: str,
        negative_prompt: str,
        model: DiffusionModel | None = None,
        images: torch.Tensor | Pictures | None = None,
        prompts: PromptList | str | None = None,
        reward: Reward | None = None,
        reference: torch.Tensor | Pictures | None = None,
        options: SampleOptions | None = None,
        stored: str = NOT_STORED,
        **settings: Any,
    ) -> io.NodeOutput:
        from ..evaluation.evaluate import evaluate
        from ..evaluation.given import digest
        from ..evaluation.report.content import as_text
        from ..evaluation.run import Run
        from ..evaluation.sources import SampledPictures

        home = host.evaluations_folder(title)  # what is wrong with the title is said first
        measuring = EvaluationSettings(**{name: settings.pop(name) for name in MEASURING})
        if (model is None) == (images is None):
            raise InputError("model", "both" if model else "nothing", "Connect a model to sample, or images: one.")
        rows = _rows(protocol, folder, count, measuring.seed, prompts)
        if model is not None:
            sampling = SampleSettings(**_sized(settings, protocol))
            source = _sampled(model, rows, measuring, sampling, negative_prompt, options)
        elif images is not None:
            source = _given(images, rows, measuring.images_per_prompt, named=protocol != CONNECTED)
        place = home / digest(rows, source)
        if isinstance(source, SampledPictures):
            source = replace(source, folder=place / "pictures")
        extractor = None if features == NO_FEATURES else extractor_for(features, resize)
        known = _reference(protocol, folder, reference, stored, extractor)
        with host.loading():
            name = PROTOCOLS[protocol].title if protocol in PROTOCOLS else ""
            run = Run(title, rows, source, place, name, extractor, known, _rewards(reward), measuring)
            found = evaluate(run, place=host.in_use, progress=host.HostProgress())
        assert found is not None  # of several processes only one gathers; here there is one
        text = as_text([found], ())
        return io.NodeOutput(found, text, ui={"tastemaker_report": [text], "text": [text]})


def _sized(values: dict[str, Any], protocol: str) -> dict[str, Any]:
    """Return sampling settings with the protocol's size where none is chosen."""
    size = PROTOCOLS[protocol].size if protocol in PROTOCOLS else 0
    return {**values, **{side: values[side] or size for side in ("height", "width")}}


def _rows(protocol: str, folder: str, count: int, seed: int, prompts: PromptList | str | None) -> list[PromptRow]:
    """Return what is measured: the protocol's prompts from its folder, or the connected ones, numbered."""
    from ..evaluation.protocols import choose_rows, read_protocol

    if protocol != CONNECTED:
        return read_protocol(protocol, host.picture_folder(folder), count=count, seed=seed)
    rows = [PromptRow(str(i), text) for i, text in enumerate(as_prompts(prompts).texts, 1)]
    return choose_rows(rows, count, seed) if count else rows


def _given(images: torch.Tensor | Pictures, rows: list[PromptRow], each: int, *, named: bool) -> Source:
    """Return finished pictures; of a protocol (`named`) in its prompts' order."""
    from ..evaluation.given import in_prompt_order
    from ..evaluation.sources import GivenPictures
    from ..images.pictures import as_pictures

    pictures = as_pictures(images)
    return GivenPictures(in_prompt_order(pictures, rows, each) if named else pictures)


def _sampled(
    model: DiffusionModel,
    rows: list[PromptRow],
    measuring: EvaluationSettings,
    sampling: SampleSettings,
    negative_prompt: str,
    options: SampleOptions | None,
) -> Source:
    """Return pictures that a model makes, in a folder that is not known yet. Raises InputError for too many."""
    from ..evaluation.sources import sampled_pictures

    if len(rows) * measuring.images_per_prompt > MAX_PICTURES:
        most = MAX_PICTURES // len(rows)
        raise InputError("images_per_prompt", measuring.images_per_prompt, f"At most {most} of {len(rows):,} prompts.")
    return sampled_pictures(
        model, rows, measuring, sampling, Path(), negative_prompt, options=options, place=host.in_use
    )


def _rewards(reward: Reward | None) -> list[Reward]:
    """Return the reward, or where its scores depend on their batch, the rewards it is made of."""
    if reward is None:
        return []
    return list(reward.members) if reward.relative and reward.members else [reward]


def _reference(
    protocol: str, folder: str, pictures: torch.Tensor | Pictures | None, stored: str, extractor: Extractor | None
) -> Reference | None:
    """Return what is connected; else the stored statistics; else the protocol's own pictures; else None."""
    from ..evaluation.references import Reference, protocol_reference
    from ..evaluation.sources import GivenPictures
    from ..images.pictures import as_pictures

    if extractor is None:
        if pictures is not None or stored != NOT_STORED:
            raise InputError("features", NO_FEATURES, "FID against a reference needs features; pick what reads them.")
        return None
    kept = host.evaluations_folder(within="reference")
    if pictures is not None and stored != NOT_STORED:
        raise InputError("stored", stored, "There is a connected reference too; take one of them.")
    if pictures is not None:
        connected = GivenPictures(as_pictures(pictures, "reference"))
        return Reference("the connected reference", connected, folder=kept)
    statistics = stored_statistics(stored)
    if statistics is not None:
        name = statistics.about.get("name") or statistics.about.get("title") or stored
        return Reference(str(name), statistics)
    return None if protocol == CONNECTED else protocol_reference(protocol, host.picture_folder(folder), kept)

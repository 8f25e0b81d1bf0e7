"""Evaluate and Report: how good a model is, in the figures that papers use."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..evaluation.protocols import PROTOCOLS, PromptRow
from ..evaluation.settings import EXTRACTORS, MAX_PICTURES, RESIZES, EvaluationSettings
from ..sampling import SampleSettings
from . import host
from .checked import checked
from .fid import (
    FEATURES_TIP,
    NOT_STORED,
    RESIZE_TIP,
    extractor_for,
    pictures_input,
    stored_input,
    stored_statistics,
)
from .listing import schema
from .widgets import widgets
from .wires import (
    CATEGORY,
    PromptList,
    TasteEvaluation,
    TasteModel,
    TasteOptions,
    TasteReward,
    as_prompts,
    prompts_input,
)

if TYPE_CHECKING:
    import torch

    from ..evaluation.fid.features import Extractor
    from ..evaluation.pictures import Source
    from ..evaluation.result import Evaluation, Reference
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
                io.Combo.Input(
                    "features",
                    options=[*EXTRACTORS, NO_FEATURES],
                    default=EXTRACTORS[0],
                    tooltip=FEATURES_TIP + "none: no FID, no KID, no diversity.",
                ),
                io.Combo.Input("resize", options=list(RESIZES), default=RESIZES[0], tooltip=RESIZE_TIP),
                io.String.Input("negative_prompt", default="", tooltip="What should not be in the pictures."),
                *widgets(EvaluationSettings, *MEASURING),
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
        from ..evaluation.report.content import as_text

        host.evaluations_folder(title)  # what is wrong with the title is said first
        told = EvaluationSettings(**{name: settings.pop(name) for name in MEASURING})
        sampling = SampleSettings(**_sized(settings, protocol))
        if (model is None) == (images is None):
            raise InputError("model", "both" if model else "nothing", "Connect a model to sample, or images: one.")
        rows = _rows(protocol, folder, count, told, prompts)
        source = _source(model, images, rows, told, sampling, negative_prompt, options, named=protocol != CONNECTED)
        place = host.evaluations_folder(title) / _digest(rows, source)
        source = _into(source, place)
        extractor = None if features == NO_FEATURES else extractor_for(features, resize)
        known = _reference(protocol, folder, reference, stored, extractor)
        with host.loading():
            found = evaluate(
                title,
                rows,
                source,
                folder=place,
                protocol=PROTOCOLS[protocol].title if protocol in PROTOCOLS else "",
                extractor=extractor,
                reference=known,
                rewards=_rewards(reward),
                settings=told,
                place=host.in_use,
                progress=host.HostProgress(),
            )
        text = as_text([found], ())
        return io.NodeOutput(found, text, ui={"tastemaker_report": [text], "text": [text]})


def _sized(values: dict[str, Any], protocol: str) -> dict[str, Any]:
    """Sampling settings: the protocol's size where none is chosen."""
    size = PROTOCOLS[protocol].size if protocol in PROTOCOLS else 0
    return {**values, **{side: values[side] or size for side in ("height", "width")}}


def _rows(
    protocol: str, folder: str, count: int, told: EvaluationSettings, prompts: PromptList | str | None
) -> list[PromptRow]:
    from ..evaluation.protocols import chosen, read_protocol

    if protocol not in (CONNECTED, *PROTOCOLS):
        raise InputError("protocol", protocol, f"Pick one of {', '.join((CONNECTED, *PROTOCOLS))}.")
    if not isinstance(count, int) or not 0 <= count <= MAX_PICTURES:
        raise InputError("count", count, f"It must be from 0 to {MAX_PICTURES:,}.")
    if protocol != CONNECTED:
        return read_protocol(protocol, host.picture_folder(folder), count=count, seed=told.seed)
    rows = [PromptRow(str(i), text) for i, text in enumerate(as_prompts(prompts).texts, 1)]
    return chosen(rows, count, told.seed) if count else rows


def _source(
    model: DiffusionModel | None,
    images: torch.Tensor | Pictures | None,
    rows: list[PromptRow],
    told: EvaluationSettings,
    sampling: SampleSettings,
    negative_prompt: str,
    options: SampleOptions | None,
    *,
    named: bool,
) -> Source:
    from ..evaluation.pictures import GivenPictures
    from ..evaluation.plan import sampled
    from ..images.pictures import as_pictures

    if images is not None:
        whole = as_pictures(images)
        return GivenPictures(_by_name(whole, rows, told.images_per_prompt) if named else whole)
    if len(rows) * told.images_per_prompt > MAX_PICTURES:
        most = MAX_PICTURES // len(rows)
        raise InputError("images_per_prompt", told.images_per_prompt, f"At most {most} of {len(rows):,} prompts.")
    return sampled(model, rows, told, sampling, Path(), negative_prompt, options=options, place=host.in_use)


def _by_name(pictures: Pictures, rows: list[PromptRow], each: int) -> Pictures:
    """Pictures in the order of a protocol's prompts: files by their names, a batch as it is.

    Raises InputError where a prompt has no file: its pictures would stand beside other prompts.
    """
    from ..evaluation.plan import finished_names

    listed = [pictures.listed(i) for i in range(len(pictures))]
    if None in listed:
        return pictures
    places = {file.name: i for i, file in enumerate(listed) if file is not None}
    names = finished_names(rows, each, places.__contains__)
    missing = [name for name in names if name not in places]
    if missing:
        row = rows[names.index(missing[0]) // each]
        raise InputError(
            "images",
            f"no file for prompt {row.id} ({len(missing):,} in all)",
            "Name the files as the protocol does (its id, or category/id), or by number: 000000.png and so on.",
        )
    return pictures.rows([places[name] for name in names])


def _digest(rows: list[PromptRow], source: Source) -> str:
    """A folder's name that other prompts, settings or pictures do not share: each has a run of its own."""
    text = json.dumps([[list(row[:3]) for row in rows], len(source), source.identity()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _into(source: Source, place: Path) -> Source:
    from dataclasses import replace

    from ..evaluation.pictures import SampledPictures

    return replace(source, folder=place / "pictures") if isinstance(source, SampledPictures) else source


def _rewards(reward: Reward | None) -> list[Reward]:
    """The reward, or where its scores depend on their batch, the rewards it is made of."""
    if reward is None:
        return []
    return list(reward.members) if reward.relative and reward.members else [reward]


def _reference(
    protocol: str,
    folder: str,
    pictures: torch.Tensor | Pictures | None,
    stored: str,
    extractor: Extractor | None,
) -> Reference | None:
    """What is connected; else the stored statistics; else the protocol's own pictures; else none."""
    from ..evaluation.pictures import GivenPictures
    from ..evaluation.plan import protocol_reference
    from ..evaluation.result import Reference
    from ..images.pictures import as_pictures

    if extractor is None:
        if pictures is not None or stored != NOT_STORED:
            raise InputError("features", NO_FEATURES, "FID against a reference needs features; pick what reads them.")
        return None
    kept = host.evaluations_folder(within="reference")
    if pictures is not None and stored != NOT_STORED:
        raise InputError("stored", stored, "There is a connected reference too; take one of them.")
    if pictures is not None:
        whole = as_pictures(pictures, "reference")
        return Reference("the connected reference", GivenPictures(whole), folder=kept)
    if stored != NOT_STORED:
        statistics = stored_statistics(stored)
        name = statistics.about.get("name") or statistics.about.get("title") or stored
        return Reference(str(name), statistics=statistics)
    return None if protocol == CONNECTED else protocol_reference(protocol, host.picture_folder(folder), kept)


class TastemakerReport(io.ComfyNode):
    """Evaluations as a report."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerReport",
            display_name="Report",
            category=CATEGORY,
            description="Makes a report of one evaluation, or of two side by side: a table with intervals, a chart, "
            "the best and worst pictures by each reward, and one HTML file to share.",
            is_output_node=True,
            inputs=[
                TasteEvaluation.Input("before", tooltip="From Evaluate."),
                TasteEvaluation.Input("after", optional=True, tooltip="From another Evaluate, of the same kind."),
                io.String.Input(
                    "filename_prefix",
                    default="tastemaker/report",
                    tooltip="Where the report goes, below the output folder.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="chart"),
                io.String.Output(display_name="text", tooltip="The table in Markdown, with notes."),
            ],
        )

    @classmethod
    @checked(called={"evaluation": "before"})
    def execute(cls, before: Evaluation, filename_prefix: str, after: Evaluation | None = None) -> io.NodeOutput:
        import numpy as np
        import torch

        from ..evaluation.report.content import make_report, overview
        from ..evaluation.report.save import save_report

        evaluations = [before] if after is None else [before, after]
        report = make_report(evaluations)
        folder, stem, counter = host.output_place(filename_prefix, *report.chart.size)
        paths = save_report(report, evaluations, folder, f"{stem}_{counter:05d}_")
        images = [host.preview_entry(overview(report), "report")]
        chart = torch.from_numpy(np.asarray(report.chart, dtype=np.float32) / 255)[None]
        saved = f"{report.text}\n\nSaved: {paths[0].name}, with its chart, sheets, JSON and Markdown beside it."
        ui = {"images": images, "text": [saved], "tastemaker_report": [saved]}
        return io.NodeOutput(chart, report.text, ui=ui)

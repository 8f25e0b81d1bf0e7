"""FID: how far two sets of pictures lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..core.progress import Progress, Within
from ..evaluation.settings import OVERALL, EvaluationSettings
from . import host
from .checked import checked
from .features import NOT_STORED, extractor_for, features_inputs, stored_input, stored_statistics
from .inputs import pictures_input, widgets
from .listing import schema
from .wires import CATEGORY

if TYPE_CHECKING:
    import torch

    from ..evaluation.fid.features import Extractor
    from ..evaluation.measures import FeatureSet
    from ..images.pictures import Pictures


class TastemakerFID(io.ComfyNode):
    """How far two sets of pictures lie apart."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerFID",
            display_name="FID",
            category=CATEGORY,
            description="Compares two sets of pictures as papers do: FID and KID, with their intervals. Lower is "
            "nearer.",
            is_output_node=True,
            inputs=[
                pictures_input("images", "The pictures to judge: from Sample, Load Images or any other node."),
                pictures_input(
                    "reference", "The real pictures, or those of another model. Or pick stored ones.", optional=True
                ),
                *features_inputs(),
                *widgets(EvaluationSettings, "kid_subsets", "kid_subset_size", "resamples", "seed"),
                stored_input(),
            ],
            outputs=[
                io.Float.Output(display_name="FID"),
                io.Float.Output(display_name="KID x1000"),
                io.String.Output(
                    display_name="text", tooltip="Both with their intervals, and what to be careful about."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, stored: object = None) -> bool:
        """Leave the check of `stored` to execute, which says what to do."""
        return True

    @classmethod
    @checked(looked_up=("stored",), called={"pictures": "images"})
    def execute(
        cls,
        images: torch.Tensor | Pictures,
        features: str,
        resize: str,
        reference: torch.Tensor | Pictures | None = None,
        stored: str = NOT_STORED,
        **settings: Any,
    ) -> io.NodeOutput:
        from ..evaluation.fid.statistics import check_comparable
        from ..evaluation.measures import FID, KID, FeatureSet, distances
        from ..evaluation.report.content import format_estimate

        measuring = EvaluationSettings(**settings)
        if (reference is None) == (stored == NOT_STORED):
            found = "nothing" if reference is None else "two"
            raise InputError("reference", found, "Connect pictures to compare with, or pick stored statistics: one.")
        known = stored_statistics(stored)
        extractor = extractor_for(features, resize)
        if known is not None:
            check_comparable(extractor.about, known.about)
        progress = host.HostProgress()
        notes: list[str] = []
        with host.loading():
            mine = _features("images", images, extractor, progress, notes)
            if known is not None:
                other = FeatureSet(known.about, None, (), known)
            else:
                other = _features("reference", reference, extractor, progress, notes)
            sections, more = distances(mine, other, measuring, progress)
        values = sections[OVERALL]
        lines = [f"{name}: {format_estimate(values[name])}" for name in (FID, KID) if name in values]
        counts = " and ".join(f"{s.statistics.count:,}" for s in (mine, other))
        lines += [f"{counts} pictures, read by {features}", *notes, *more]
        text = "\n".join(lines)
        kid = values[KID].value if KID in values else host.blocked("Stored statistics have no KID.")
        return io.NodeOutput(values[FID].value, kid, text, ui={"tastemaker_report": [text], "text": [text]})


def _features(
    name: str, value: torch.Tensor | Pictures, extractor: Extractor, progress: Progress, notes: list[str]
) -> FeatureSet:
    """Read the features of what the input `name` got; `notes` gets which pictures cannot be read."""
    from ..evaluation.fid.features import read_features
    from ..evaluation.measures import FeatureTensor, feature_set
    from ..images.pictures import as_pictures

    pictures = as_pictures(value, name)
    progress.phase(name, len(pictures))
    found = read_features(pictures, extractor, place=host.in_use, progress=Within(progress))
    if found.broken:
        first, why = found.broken[0]
        notes.append(f"{len(found.broken):,} of {name} cannot be read; {pictures.name(first)} {why}.")
    return feature_set(FeatureTensor(found.features), [""] * len(found.kept), extractor.about)

"""FID: how far two sets of pictures lie apart; and what it shares with Evaluate."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..evaluation.settings import EXTRACTORS, RESIZES, EvaluationSettings
from ..loaders.errors import InputError
from . import host
from .widgets import widgets
from .wires import CATEGORY, TastePictures

if TYPE_CHECKING:
    import torch

    from ..evaluation.features import Extractor
    from ..rewards.pictures import Pictures

FEATURES_TIP = (
    "What reads pictures for FID and KID. tiny-vision comes with the pack and knows only the embedded models' world. "
    "inception-v3 is what papers use; the error says where to get its file. "
)
RESIZE_TIP = "How pictures reach Inception's size. clean: antialiased, as papers do now. legacy: as the first ones did."


def pictures_input(name: str, tooltip: str, *, optional: bool = False) -> io.Input:
    return io.MultiType.Input(name, types=[io.Image, TastePictures], tooltip=tooltip, optional=optional)


def extractor_for(name: str, resize: str) -> Extractor:
    """A feature network, kept for the next run while its file stays as it is. Raises InputError, ModelFileError."""
    from ..evaluation.inception import find_inception
    from ..loaders.fingerprint import changes

    if name not in EXTRACTORS:
        raise InputError("features", name, f"Pick one of {', '.join(EXTRACTORS)}.")
    folders = tuple(host.reward_folders())
    return _kept_extractor(name, resize, folders, changes(find_inception(folders)) if name == "inception-v3" else "")


@lru_cache(maxsize=2)
def _kept_extractor(name: str, resize: str, folders: tuple[Path, ...], changed: str) -> Extractor:
    from ..evaluation.features import load_extractor

    with host.loading():
        return load_extractor(name, folders=folders, resize=resize)


class Phases:
    """Progress of one phase after the other. Each call is also where a cancel takes effect."""

    def __init__(self) -> None:
        self._phase, self._bar = "", None

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase or self._bar is None:
            self._phase, self._bar = phase, host.Progress(max(1, total))
        self._bar.update(min(done, total))


class TastemakerFID(io.ComfyNode):
    """How far two sets of pictures lie apart."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TastemakerFID",
            display_name="FID",
            category=CATEGORY,
            description="Compares two sets of pictures as papers do: FID and KID, with their intervals. Lower is "
            "nearer.",
            is_output_node=True,
            inputs=[
                pictures_input("images", "The pictures to judge: from Sample, Load Images or any other node."),
                pictures_input("reference", "The real pictures, or those of another model."),
                io.Combo.Input(
                    "features", options=list(EXTRACTORS), default=EXTRACTORS[0], tooltip=FEATURES_TIP.strip()
                ),
                io.Combo.Input("resize", options=list(RESIZES), default=RESIZES[0], tooltip=RESIZE_TIP),
                *widgets(EvaluationSettings, "kid_subsets", "kid_subset_size", "resamples", "seed"),
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
    def execute(
        cls,
        images: torch.Tensor | Pictures,
        reference: torch.Tensor | Pictures,
        features: str,
        resize: str,
        **settings: Any,
    ) -> io.NodeOutput:
        from ..evaluation.measures import FID, KID, OVERALL, distances
        from ..evaluation.report import shown

        told = EvaluationSettings(**settings)
        extractor = extractor_for(features, resize)
        progress, notes = Phases(), []
        with host.loading():
            sets = [
                _features(name, value, extractor, progress, notes)
                for name, value in (("images", images), ("reference", reference))
            ]
            found, more = distances(*sets, told)
        values = found[OVERALL]
        lines = [f"{name}: {shown(values[name])}" for name in (FID, KID)]
        counts = " and ".join(f"{s.statistics.count:,}" for s in sets)
        lines += [f"{counts} pictures, read by {features}", *notes, *more]
        text = "\n".join(lines)
        return io.NodeOutput(
            values[FID].value, values[KID].value, text, ui={"tastemaker_report": [text], "text": [text]}
        )


def _features(name: str, value: torch.Tensor | Pictures, extractor: Extractor, progress: Phases, notes: list[str]):
    from ..evaluation.features import read_features
    from ..evaluation.measures import FeatureTensor, feature_set
    from ..rewards.pictures import as_pictures
    from ..rewards.reward import check_images

    pictures = as_pictures(value if hasattr(value, "rows") else check_images(value))
    found = read_features(
        pictures,
        extractor,
        place=lambda: host.in_use([extractor.network]),
        on_picture=lambda done, total: progress(name, done, total),
    )
    if found.broken:
        first, why = found.broken[0]
        notes.append(f"{len(found.broken):,} of {name} cannot be read; {pictures.name(first)} {why}.")
    return feature_set(FeatureTensor(found.features), [""] * len(found.kept), extractor.about)

"""FID: how far two sets of pictures lie apart; and what it shares with Evaluate."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..core.progress import Progress, Within
from ..evaluation.settings import EXTRACTORS, OVERALL, RESIZES, EvaluationSettings
from . import host
from .checked import checked
from .listing import schema
from .widgets import widgets
from .wires import CATEGORY, TastePictures

if TYPE_CHECKING:
    import torch

    from ..evaluation.fid.features import Extractor
    from ..evaluation.fid.statistics import FeatureStatistics
    from ..images.pictures import Pictures

FEATURES_TIP = (
    "What reads pictures for FID and KID. tiny-vision comes with the pack and knows only the embedded models' world. "
    "inception-v3 is what papers use; the error says where to get its file. "
)
RESIZE_TIP = "How pictures reach Inception's size. clean: antialiased, as papers do now. legacy: as the first ones did."


NOT_STORED = "none"
MAX_STORED = 500  # files listed
STORED_TIP = (
    "Statistics that an Evaluate kept, to compare with instead of pictures: no KID then, which needs the pictures. "
    "Reload the page for new ones."
)


def stored_input() -> io.Input:
    """The combo of stored statistics; it came later, so a prompt written before it still runs."""
    return io.Combo.Input(
        "stored", options=[NOT_STORED, *stored_files()], default=NOT_STORED, optional=True, tooltip=STORED_TIP
    )


def stored_files() -> list[str]:
    """Statistics under the evaluations' folder, as `TITLE/RUN/statistics-....safetensors`, the newest first."""
    root = host.evaluations_folder()
    try:
        found = [p for p in root.glob("*/*/statistics*.safetensors") if p.is_file() and not p.is_symlink()]
        newest = sorted(found, key=lambda p: -p.stat().st_mtime_ns)[:MAX_STORED]
    except OSError:
        return []
    names = (p.relative_to(root).as_posix() for p in newest)
    return [name for name in names if name.isprintable()]


def stored_statistics(name: str) -> FeatureStatistics:
    """Statistics from that list. Raises InputError for what is not in it, ModelFileError for a damaged file."""
    from ..evaluation.fid.statistics import load_statistics

    if name not in stored_files():
        raise InputError("stored", name, "Pick one of the list; Evaluate makes them, where it has a reference.")
    return load_statistics(host.evaluations_folder() / name)


def pictures_input(name: str, tooltip: str, *, optional: bool = False) -> io.Input:
    return io.MultiType.Input(name, types=[io.Image, TastePictures], tooltip=tooltip, optional=optional)


def extractor_for(name: str, resize: str) -> Extractor:
    """A feature network, kept for the next run while its file stays as it is. Raises InputError, ModelFileError."""
    from ..evaluation.fid.inception import find_inception
    from ..loaders.formats.fingerprint import changes

    if name not in EXTRACTORS:
        raise InputError("features", name, f"Pick one of {', '.join(EXTRACTORS)}.")
    folders = tuple(host.reward_folders())
    return _kept_extractor(name, resize, folders, changes(find_inception(folders)) if name == "inception-v3" else "")


@lru_cache(maxsize=2)
def _kept_extractor(name: str, resize: str, folders: tuple[Path, ...], changed: str) -> Extractor:
    from ..evaluation.fid.features import load_extractor

    with host.loading():
        return load_extractor(name, folders=folders, resize=resize)


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
                io.Combo.Input(
                    "features", options=list(EXTRACTORS), default=EXTRACTORS[0], tooltip=FEATURES_TIP.strip()
                ),
                io.Combo.Input("resize", options=list(RESIZES), default=RESIZES[0], tooltip=RESIZE_TIP),
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
        from ..evaluation.report.content import shown

        told = EvaluationSettings(**settings)
        if (reference is None) == (stored == NOT_STORED):
            found = "nothing" if reference is None else "two"
            raise InputError("reference", found, "Connect pictures to compare with, or pick stored statistics: one.")
        known = None if stored == NOT_STORED else stored_statistics(stored)
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
            found, more = distances(mine, other, told, progress)
        values = found[OVERALL]
        lines = [f"{name}: {shown(values[name])}" for name in (FID, KID) if name in values]
        counts = " and ".join(f"{s.statistics.count:,}" for s in (mine, other))
        lines += [f"{counts} pictures, read by {features}", *notes, *more]
        text = "\n".join(lines)
        kid = values[KID].value if KID in values else host.blocked("Stored statistics have no KID.")
        return io.NodeOutput(values[FID].value, kid, text, ui={"tastemaker_report": [text], "text": [text]})


def _features(name: str, value: torch.Tensor | Pictures, extractor: Extractor, progress: Progress, notes: list[str]):
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

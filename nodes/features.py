"""What FID and Evaluate share: the networks that read pictures, and statistics of pictures that were read before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..core.errors import InputError
from ..evaluation.settings import EXTRACTORS, RESIZES
from . import host

if TYPE_CHECKING:
    from ..evaluation.fid.features import Extractor
    from ..evaluation.fid.statistics import FeatureStatistics

NOT_STORED = "none"
MAX_STORED = 500  # files listed
_FEATURES_TIP = (
    "What reads pictures for FID and KID. tiny-vision comes with the pack and knows only the embedded models' world. "
    "inception-v3 is what papers use; the error says where to get its file."
)
_RESIZE_TIP = (
    "How pictures reach Inception's size. clean: antialiased, as papers do now. legacy: as the first ones did."
)
_STORED_TIP = (
    "Statistics that an Evaluate kept, to compare with instead of pictures: no KID then, which needs the pictures. "
    "Reload the page for new ones."
)


def features_inputs(more: Sequence[str] = (), tip: str = "") -> list[io.Input]:
    """Return the combos of feature networks, with `more` choices behind them and what those do, and of resizes."""
    return [
        io.Combo.Input(
            "features",
            options=[*EXTRACTORS, *more],
            default=EXTRACTORS[0],
            tooltip=f"{_FEATURES_TIP} {tip}".strip(),
        ),
        io.Combo.Input("resize", options=list(RESIZES), default=RESIZES[0], tooltip=_RESIZE_TIP),
    ]


def extractor_for(name: str, resize: str) -> Extractor:
    """Load a feature network, or return the one of the last run while its file is as it was. Raises ModelFileError."""
    from ..evaluation.fid.inception_file import find_inception
    from ..loaders.formats.fingerprint import changes

    folders = tuple(host.reward_folders())
    return _kept_extractor(name, resize, folders, changes(find_inception(folders)) if name == "inception-v3" else "")


@lru_cache(maxsize=2)
def _kept_extractor(name: str, resize: str, folders: tuple[Path, ...], changed: str) -> Extractor:
    from ..evaluation.fid.features import load_extractor

    with host.loading():
        return load_extractor(name, folders=folders, resize=resize)


def stored_input() -> io.Input:
    """Return the combo of stored statistics; it came later, so a prompt written before it still runs."""
    return io.Combo.Input(
        "stored", options=[NOT_STORED, *stored_files()], default=NOT_STORED, optional=True, tooltip=_STORED_TIP
    )


def stored_files() -> list[str]:
    """List statistics under the evaluations' folder, as `TITLE/RUN/statistics-....safetensors`, the newest first."""
    root = host.evaluations_folder()
    try:
        found = [p for p in root.glob("*/*/statistics*.safetensors") if p.is_file() and not p.is_symlink()]
        newest = sorted(found, key=lambda p: -p.stat().st_mtime_ns)[:MAX_STORED]
    except OSError:
        return []
    names = (p.relative_to(root).as_posix() for p in newest)
    return [name for name in names if name.isprintable()]


def stored_statistics(name: str) -> FeatureStatistics | None:
    """Load statistics of that list; None for the choice of none.

    Raises InputError for what is not in the list, ModelFileError for a damaged file.
    """
    from ..evaluation.fid.statistics import load_statistics

    if name == NOT_STORED:
        return None
    if name not in stored_files():
        raise InputError("stored", name, "Pick one of the list; Evaluate makes them, where it has a reference.")
    return load_statistics(host.evaluations_folder() / name)

"""What pictures are compared with: other pictures, or statistics that were stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ..images.folder import read_folder
from .fid.statistics import FeatureStatistics
from .layouts import NAMES_PICTURES
from .protocols import ALL, PROTOCOLS, read_protocol
from .sources import GivenPictures, NamedFiles, Source


@dataclass(frozen=True, eq=False)
class Reference:
    """What pictures are compared with.

    Attributes:
        name: for reports.
        source: the pictures, or stored statistics.
        categories: one for each picture; None: they have none.
        folder: where their features are kept, so that they are read once for all models; None: with the evaluation.
        notes: what to be careful about, such as files that were left out.
    """

    name: str
    source: Source | FeatureStatistics
    categories: tuple[str, ...] | None = None
    folder: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Name what is compared with: equal for the same pictures or statistics."""
        if isinstance(self.source, FeatureStatistics):
            data = self.source.scatter.numpy().tobytes()
        else:
            data = json.dumps(self.source.identity(), sort_keys=True).encode()
        return hashlib.sha256(data).hexdigest()[:16]


def folder_reference(path: Path, kept: Path) -> Reference:
    """Return all pictures of a folder to compare with; what had to be left out is in its notes."""
    found = read_folder(path, recursive=True, prompts_from="none")
    left_out = (*found.broken, *found.skipped)
    notes: tuple[str, ...] = ()
    if left_out:
        name, why = left_out[0]
        notes = (f"{len(left_out):,} files of the reference, {path.name}, are left out; {name} {why}.",)
    return Reference(path.name, GivenPictures(found.pictures), folder=kept, notes=notes)


def protocol_reference(protocol: str, folder: Path, kept: Path) -> Reference | None:
    """Return all the real pictures of a protocol, however many prompts are sampled; None where there are none.

    So papers do: 30,000 of COCO's prompts are compared with the whole validation set (Imagen, arXiv 2205.11487).
    Of one's own prompts it is the folder of pictures beside them. Pictures are compared as they are: papers that crop
    the real ones to a square first do so on disk.
    """
    known = PROTOCOLS[protocol]
    if known.layout in NAMES_PICTURES:
        rows = read_protocol(protocol, folder, count=ALL)
        names = tuple(row.picture for row in rows)
        return Reference(known.title, NamedFiles(folder, names), tuple(r.category for r in rows), folder=kept)
    folders = [folder / name for name in known.pictures if (folder / name).is_dir()]
    return folder_reference(folders[0], kept) if folders else None

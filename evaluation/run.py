"""`Run`: what is measured of one set of pictures, and the folder that keeps all of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError, ModelFileError
from ..core.files import own_folder, sweep, unwritable
from ..core.runs import first_difference, kept_identity, locked
from ..core.shares import Share
from ..rewards.reward import Reward
from .blocks import BLOCK, write_file
from .fid.features import Extractor
from .fid.statistics import FeatureStatistics, check_comparable
from .layouts import PromptRow
from .references import Reference
from .settings import EvaluationSettings
from .sources import SampledPictures, Source, with_defaults


@dataclass(frozen=True, eq=False)
class Run:
    """What to measure of one set of pictures.

    Attributes:
        title: the model's name in reports.
        rows: the prompts; the pictures of row r are those from r * k to (r + 1) * k - 1, k pictures a prompt.
        source: the pictures, or a model that makes them.
        folder: where everything is kept.
        protocol: the prompts' name in reports.
        extractor: reads features, for FID, KID and diversity; None: none of them.
        reference: what FID and KID compare with; None: neither.
        rewards: their means are measured.
        settings: how to measure.
    """

    title: str
    rows: Sequence[PromptRow]
    source: Source
    folder: Path
    protocol: str = ""
    extractor: Extractor | None = None
    reference: Reference | None = None
    rewards: Sequence[Reward] = ()
    settings: EvaluationSettings = EvaluationSettings()

    @property
    def each(self) -> int:
        """Pictures a prompt."""
        return len(self.source) // max(1, len(self.rows))

    def row(self, i: int) -> PromptRow:
        """Return the prompt of picture `i`."""
        return self.rows[i // self.each]

    @property
    def real(self) -> Run:
        """The run with its folders by their real paths: from here on no link in them is followed."""
        source = self.source
        if isinstance(source, SampledPictures):
            source = replace(source, folder=_without_links(source.folder))
        return replace(self, folder=Path(os.path.realpath(self.folder)), source=source)


def _without_links(folder: Path) -> Path:
    """Return where a folder lies; a link in its own place is not followed."""
    return Path(os.path.realpath(folder.parent)) / folder.name


# --- its folder -------------------------------------------------------------------------------


def features_folder(folder: Path, extractor: Extractor) -> Path:
    """Return where a run keeps what a network read of its pictures."""
    return folder / "features" / extractor.key


def reference_folder(folder: Path, reference: Reference, extractor: Extractor) -> Path:
    """Return where the reference's features are: another folder for other pictures, so that those are read anew."""
    return _without_links(reference.folder or folder / "reference") / f"{reference.id}-{extractor.key}"


def scores_folder(folder: Path, reward: Reward) -> Path:
    """Return where a run keeps a reward's scores."""
    formats = sorted({str(p.dtype) for m in reward.modules.values() for p in m.parameters()})
    text = "\n".join([reward.name, reward.fingerprint, *formats])
    return folder / "scores" / hashlib.sha256(text.encode()).hexdigest()[:16]


def open_folder(run: Run, share: Share) -> AbstractContextManager[Any]:
    """Hold the folder for this process's share of the work, as a context manager.

    Raises InputError where it cannot be written, another process is at work on that share, or it is of another run,
    and ModelFileError for a damaged config.json.
    """
    try:
        own_folder(run.folder)
        lock = locked(run.folder / f"share-{share.rank}.lock")
    except OSError as e:
        name = Path(e.filename or run.folder).name
        raise InputError("run_folder", name, f"It cannot be written ({unwritable(e)}).") from e
    try:
        _check_identity(run)
        if share.world == 1:  # others may be in the middle of writing
            for below, _, _ in os.walk(run.folder):  # which follows no links
                sweep(Path(below), older=0, ending=".part")
    except BaseException:
        lock.close()
        raise
    return lock


def _check_identity(run: Run) -> None:
    prompts = hashlib.sha256(json.dumps([list(row[:3]) for row in run.rows]).encode()).hexdigest()[:16]
    identity = {"block": BLOCK, "prompts": prompts, "pictures": len(run.source), "source": run.source.identity()}
    wanted = json.loads(json.dumps(identity))
    path = run.folder / "config.json"
    try:
        found = kept_identity(path)
    except ValueError as e:
        raise ModelFileError(f"{path.name} of {run.folder.name} {e}: give the evaluation another name.") from e
    if found is None:
        write_file(path, json.dumps({"identity": wanted, "title": run.title}, indent=2).encode())
        return
    odd = first_difference(with_defaults(found), with_defaults(wanted))
    if odd:
        advice = f"It holds an evaluation with another {odd}. Give this one another name."
        raise InputError("run_name", run.folder.name, advice)


# --- what cannot be measured ------------------------------------------------------------------


def check_run(run: Run) -> None:
    """Raise InputError for what does not fit together, before any work."""
    pictures = len(run.source)
    if not pictures or not run.rows or pictures != run.each * len(run.rows):
        found = f"{pictures} pictures for {len(run.rows)} prompts"
        raise InputError("pictures", found, "There must be as many pictures of every prompt, and at least one.")
    if run.reference is not None:
        _check_reference(run.reference, run.extractor)
    names = [reward.name for reward in run.rewards]
    if len(set(names)) != len(names):
        raise InputError("rewards", ", ".join(names), "One of them is there twice.")
    empty = sum(not row.prompt.strip() for row in run.rows)
    for reward in run.rewards:
        if reward.relative:
            why = "Its scores depend on the other pictures of a batch, so they have no mean. Take its parts."
            raise InputError("rewards", reward.name, why)
        if empty and reward.needs_prompt:
            raise InputError("rewards", reward.name, f"It compares with a prompt; {empty} pictures have none.")


def _check_reference(reference: Reference, extractor: Extractor | None) -> None:
    if extractor is None:
        raise InputError("reference", reference.name, "FID needs a network that reads features: set one.")
    if isinstance(reference.source, FeatureStatistics):
        check_comparable(extractor.about, reference.source.about)
    elif len(reference.source) < 2:
        found = f"{len(reference.source)} pictures of {reference.name}"
        raise InputError("reference", found, "FID compares two sets; give at least two pictures that can be read.")

"""`evaluate`: prompts and a model, or finished pictures, to figures that a report is made of."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError, ModelFileError
from ..core.files import own_folder, sweep, unwritable
from ..core.progress import Place, Progress, Scaled, Within, stay
from ..core.runs import first_difference, kept_identity, locked
from ..images.pictures import Pictures
from ..ranking.scoring import score_pictures
from ..rewards.reward import Reward
from .blocks import (
    BLOCK,
    Share,
    has_features,
    load_scores,
    places,
    save_features,
    save_scores,
    written,
)
from .fid.features import Extractor, FeatureRows, read_features
from .fid.statistics import check_comparable
from .gather import Gathering, features_folder, reference_folder, scores_folder
from .pictures import SampledPictures, Source
from .protocols import PromptRow
from .result import Evaluation, Reference
from .settings import EvaluationSettings

log = logging.getLogger(__name__)


def evaluate(
    title: str,
    rows: Sequence[PromptRow],
    source: Source,
    *,
    folder: Path,
    protocol: str = "",
    extractor: Extractor | None = None,
    reference: Reference | None = None,
    rewards: Sequence[Reward] = (),
    settings: EvaluationSettings | None = None,
    share: Share | None = None,
    place: Place = stay,
    progress: Progress | None = None,
) -> Evaluation | None:
    """Measure one set of pictures.

    Everything is kept in `folder` as it goes on: the same call again goes on where it stopped, with the same result,
    and another reward or reference later costs only itself.

    Args:
        title: the model's name in reports.
        rows: the prompts; the pictures of row r are those from r * k to (r + 1) * k - 1, k pictures a prompt.
        source: the pictures, or a model that makes them.
        extractor: reads features, for FID, KID and diversity; None: none of them.
        reference: what FID and KID compare with; None: neither.
        rewards: their means are measured.
        share: this process's part; only rank 0 returns figures.
        place: puts networks where they compute; a host's memory management.
        progress: a phase for sampling, reading, each reward and each figure; what it raises stops the work.

    Raises:
        InputError: arguments that do not fit together; a folder of another run; fewer than two pictures for FID.
    """
    settings, progress = settings or EvaluationSettings(), progress or Progress()
    folder = Path(os.path.realpath(folder))  # from here on no link in it is followed
    if isinstance(source, SampledPictures):
        source = replace(source, folder=Path(os.path.realpath(source.folder.parent)) / source.folder.name)
    job = _Job(title, rows, source, folder, share or Share(), place, progress)
    job.check(extractor, reference, rewards)
    with job.opened():
        job.sample()
        if extractor is not None:
            job.read(extractor, source, features_folder(folder, extractor), "reading")
            if reference is not None and reference.source is not None:
                job.read(extractor, reference.source, reference_folder(reference, extractor, folder), "reference")
        for reward in rewards:
            job.score(reward)
        job.share.wait()
        if not job.share.gathers:
            return None
        gathering = Gathering(title, rows, source, folder, protocol, settings, progress)
        return gathering.result(extractor, reference, rewards)


class _Job:
    """One call of `evaluate`."""

    def __init__(
        self,
        title: str,
        rows: Sequence[PromptRow],
        source: Source,
        folder: Path,
        share: Share,
        place: Place,
        progress: Progress,
    ) -> None:
        self.title, self.rows, self.source, self.folder = title, rows, source, folder
        self.share, self.place, self.progress = share, place, progress
        self.each = len(source) // max(1, len(rows))

    def check(self, extractor: Extractor | None, reference: Reference | None, rewards: Sequence[Reward]) -> None:
        """Raises InputError before any work."""
        if not len(self.source) or not self.rows or len(self.source) != self.each * len(self.rows):
            found = f"{len(self.source)} pictures for {len(self.rows)} prompts"
            raise InputError("pictures", found, "There must be as many pictures of every prompt, and at least one.")
        if reference is not None and extractor is None:
            raise InputError("reference", reference.name, "FID needs a network that reads features: set one.")
        if reference is not None and reference.source is None and reference.statistics is None:
            raise InputError("reference", reference.name, "Give pictures to compare with, or stored statistics.")
        if reference is not None and reference.source is not None and len(reference.source) < 2:
            found = f"{len(reference.source)} pictures of {reference.name}"
            raise InputError("reference", found, "FID compares two sets; give at least two pictures that can be read.")
        if reference is not None and reference.source is None and extractor is not None:
            check_comparable(extractor.about, reference.statistics.about)
        names = [reward.name for reward in rewards]
        if len(set(names)) != len(names):
            raise InputError("rewards", ", ".join(names), "One of them is there twice.")
        for reward in rewards:
            if reward.relative:
                why = "Its scores depend on the other pictures of a batch, so they have no mean. Take its parts."
                raise InputError("rewards", reward.name, why)
            empty = sum(not row.prompt.strip() for row in self.rows)
            if empty and reward.needs_prompt:
                raise InputError("rewards", reward.name, f"It compares with a prompt; {empty} pictures have none.")

    def opened(self) -> AbstractContextManager[Any]:
        """The folder for this process alone. Raises InputError where it holds something else."""
        try:
            own_folder(self.folder)
            lock = locked(self.folder / f"share-{self.share.rank}.lock")
        except OSError as e:
            name = Path(e.filename or self.folder).name
            raise InputError("run_folder", name, f"It cannot be written ({unwritable(e)}).") from e
        try:
            self._check_identity()
            if self.share.world == 1:  # others may be in the middle of writing
                for below, _, _ in os.walk(self.folder):  # which follows no links
                    sweep(Path(below), older=0, ending=".part")
        except BaseException:
            lock.close()
            raise
        return lock

    def _check_identity(self) -> None:
        digest = hashlib.sha256(json.dumps([list(r[:3]) for r in self.rows]).encode()).hexdigest()[:16]
        wanted = {"block": BLOCK, "prompts": digest, "pictures": len(self.source), "source": self.source.identity()}
        path = self.folder / "config.json"
        try:
            found = kept_identity(path)
        except ValueError as e:
            raise ModelFileError(f"{path.name} of {self.folder.name} {e}: give the evaluation another name.") from e
        odd = first_difference(found, json.loads(json.dumps(wanted))) if found is not None else ""
        if odd:
            raise InputError(
                "run_name", self.folder.name, f"It holds an evaluation with another {odd}. Give this one another name."
            )
        if found is None:
            written(path, json.dumps({"identity": wanted, "title": self.title}, indent=2).encode())

    # --- work, a block at a time --------------------------------------------------------------

    def sample(self) -> None:
        """Make the pictures of this process's blocks that are not there yet."""
        source = self.source
        if not isinstance(source, SampledPictures):
            return
        parts = [list(part) for part in self.share.blocks(len(source))]
        total = sum(map(len, parts))
        done = total - sum(len(source.missing(part)) for part in parts)
        if done == total:
            return
        self.progress.phase("sampling", total)
        self.progress.advance(done)
        for part in parts:
            source.make(part, Within(self.progress))

    def _phase(self, name: str, blocks: Sequence[int]) -> None:
        """Begin a phase over the pictures of some blocks, if there are any."""
        if blocks:
            self.progress.phase(name, sum(len(places(block, len(self.source))) for block in blocks))

    def read(self, extractor: Extractor, source: Source, folder: Path, phase: str) -> None:
        """Features of this process's blocks of a set."""
        count = len(source)
        mine = self.share.numbers(count)
        sweep(folder)  # other evaluations keep the reference's there too
        left = [b for b in mine if not has_features(folder, b, extractor.features)]
        self._phase(phase, left)
        for block in left:
            opened = source.open(places(block, count))
            self.progress.advance(len(opened.broken))
            found = read_features(opened.pictures, extractor, place=self.place, progress=Within(self.progress))
            kept = tuple(opened.kept[i] for i in found.kept)
            broken = (*opened.broken, *((opened.kept[i], why) for i, why in found.broken))
            save_features(folder, block, FeatureRows(found.features, kept, tuple(sorted(broken))))

    def score(self, reward: Reward) -> None:
        """Scores of this process's blocks."""
        folder, count = scores_folder(self.folder, reward), len(self.source)
        left = [b for b in self.share.numbers(count) if load_scores(folder, b) is None]
        silent = reward.silent  # the result has the remarks
        self._phase(f"scoring with {reward.name}", left)
        for block in left:
            opened = self.source.open(places(block, count))
            self.progress.advance(len(opened.broken))
            kept, columns, broken = self._scored(silent, opened.pictures, opened.kept)
            save_scores(folder, block, kept, columns, sorted([*opened.broken, *broken]))

    def _scored(self, reward: Reward, pictures: Pictures, kept: Sequence[int]):
        """(places, columns, broken) of some pictures."""
        if not kept:
            return [], {}, []
        texts = [self.rows[i // self.each].prompt for i in kept]
        try:
            scored = score_pictures(
                pictures,
                texts,
                reward,
                seeds=list(kept),  # the places, which stay with the rows that could be scored
                place=self.place,
                progress=Scaled(self.progress, len(kept)),
            )
        except InputError as e:
            if e.name != "images" or pictures.batch() is not None:
                raise
            return [], {}, [(i, "cannot be read") for i in kept]
        alive = list(scored.table.seeds)
        left_out = sorted(set(kept) - set(alive))  # in the order of `broken`, whose names need not differ
        broken = [(i, why) for i, (_, why) in zip(left_out, scored.broken, strict=True)]
        return alive, {n: c.double().tolist() for n, c in scored.table.scores.items()}, broken

"""Figures of an evaluation from what its processes left in its folder, in the order of the blocks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError
from ..core.progress import Progress
from ..ranking.table import ScoreTable
from ..rewards.reward import Reward
from .blocks import StoredFeatures, blocks_of, load_scores, written
from .fid.features import Extractor
from .fid.statistics import statistics_file
from .measures import DIVERSITY, FeatureSet, Sections, distances, diversity, feature_set, means
from .pictures import SampledPictures, Source
from .protocols import PromptRow
from .result import Evaluation, Reference
from .settings import OVERALL, EvaluationSettings


def features_folder(folder: Path, extractor: Extractor) -> Path:
    """Where a run keeps what a network read of its pictures."""
    return folder / "features" / extractor.key


def reference_folder(reference: Reference, extractor: Extractor, folder: Path) -> Path:
    """One for each different set of pictures, so that changed ones are read anew."""
    kept = reference.folder or folder / "reference"
    kept = Path(os.path.realpath(kept.parent)) / kept.name  # a link in its own place is not followed
    return kept / f"{reference_id(reference)}-{extractor.key}"


def reference_id(reference: Reference) -> str:
    """Names what is compared with: equal for the same pictures or statistics."""
    if reference.source is not None:
        return hashlib.sha256(json.dumps(reference.source.identity(), sort_keys=True).encode()).hexdigest()[:16]
    return hashlib.sha256(reference.statistics.scatter.numpy().tobytes()).hexdigest()[:16]


def scores_folder(folder: Path, reward: Reward) -> Path:
    """Where a run keeps a reward's scores."""
    formats = sorted({str(p.dtype) for m in reward.modules.values() for p in m.parameters()})
    text = "\n".join([reward.name, reward.fingerprint, *formats])
    return folder / "scores" / hashlib.sha256(text.encode()).hexdigest()[:16]


class Gathering:
    """Puts together one run. Arguments are those of `evaluate`."""

    def __init__(
        self,
        title: str,
        rows: Sequence[PromptRow],
        source: Source,
        folder: Path,
        protocol: str,
        settings: EvaluationSettings,
        progress: Progress,
    ) -> None:
        self.title, self.rows, self.source, self.folder = title, rows, source, folder
        self.protocol, self.settings, self.progress = protocol, settings, progress
        self.each = len(source) // len(rows)

    def result(self, extractor: Extractor | None, reference: Reference | None, rewards: Sequence[Reward]) -> Evaluation:
        """Figures of all blocks, in their order."""
        sections: Sections = {OVERALL: {}}
        notes: list[str] = []
        broken: dict[int, str] = {}
        self.progress.phase("measuring", 1)
        if extractor is not None:
            found = StoredFeatures(features_folder(self.folder, extractor), len(self.source))
            broken |= dict(found.broken)
            self._distances(found, extractor, reference, sections, notes)
        scores, places_, failed = self._scores(rewards)
        broken |= failed
        if scores:
            categories = [self.rows[i // self.each].category for i in places_]
            _join(sections, means(scores, categories, [self.rows[i // self.each].prompt for i in places_]))
        notes += self._remarks(rewards)
        result = Evaluation(
            self.title,
            self.protocol,
            sections,
            self._about(extractor, reference, rewards, len(self.source) - len(broken)),
            tuple(notes),
            tuple((self._name(i), why) for i, why in sorted(broken.items())),
            self._table(scores, places_, rewards),
        )
        written(self.folder / "result.json", json.dumps(result.record(), indent=2, allow_nan=False).encode())
        self.progress.phase("measuring", 1)
        self.progress.advance()
        return result

    def _distances(
        self,
        found: StoredFeatures,
        extractor: Extractor,
        reference: Reference | None,
        sections: Sections,
        notes: list[str],
    ) -> None:
        prompts = [self.rows[i // self.each].prompt for i in found.kept]
        spread = diversity(found, prompts)
        if reference is not None:
            categories = [self.rows[i // self.each].category for i in found.kept]
            made_of = {**extractor.about, "title": self.title, "protocol": self.protocol, "of": self.source.identity()}
            mine = feature_set(found, categories, made_of, prompts)
            written(self.folder / f"statistics-{extractor.key}.safetensors", statistics_file(mine.statistics))
            known = self._reference(reference, extractor, notes)
            distance, more = distances(mine, known, self.settings, self.progress)
            _join(sections, distance)
            notes += more
        if spread is not None:
            sections[OVERALL][DIVERSITY] = spread

    def _reference(self, reference: Reference, extractor: Extractor, notes: list[str]) -> FeatureSet:
        if reference.source is None:
            known = reference.statistics
            return FeatureSet(known.about, None, (), known)
        notes += reference.notes
        folder = reference_folder(reference, extractor, self.folder)
        stored = StoredFeatures(folder, len(reference.source))
        if stored.broken:
            first = reference.source.open([stored.broken[0][0]])
            why = first.broken[0][1] if first.broken else stored.broken[0][1]
            notes.append(
                f"{len(stored.broken):,} of {len(reference.source):,} reference pictures cannot be read; "
                f"number {stored.broken[0][0] + 1} {why}."
            )
        categories = [reference.categories[i] if reference.categories else "" for i in stored.kept]
        made_of = {**extractor.about, "name": reference.name, "of": reference.source.identity()}
        known = feature_set(stored, categories, made_of)
        written(folder / "statistics.safetensors", statistics_file(known.statistics))
        return known

    def _scores(self, rewards: Sequence[Reward]) -> tuple[dict[str, list[float]], list[int], dict[int, str]]:
        """(columns, places, broken) of the pictures that every reward could score."""
        columns: dict[str, dict[int, float]] = {}
        failed: dict[int, str] = {}
        for reward in rewards:
            folder = scores_folder(self.folder, reward)
            for block in range(blocks_of(len(self.source))):
                record = load_scores(folder, block)
                if record is None:
                    raise InputError("run_folder", self.folder.name, f"Scores of block {block} are gone; run it again.")
                failed |= {int(i): str(why) for i, why in record["broken"]}
                for name, column in record["columns"].items():
                    columns.setdefault(name, {}).update(zip(record["kept"], column, strict=True))
        if rewards and not columns:
            raise InputError("pictures", f"{len(failed)} that cannot be read", "There is nothing to score.")
        alive = [i for i in range(len(self.source)) if all(i in column for column in columns.values())]
        return {name: [column[i] for i in alive] for name, column in columns.items()}, alive, failed

    def _remarks(self, rewards: Sequence[Reward]) -> list[str]:
        distinct = list(dict.fromkeys(row.prompt for row in self.rows))
        return [
            f"{name} does not read {len(cut):,} of {len(distinct):,} prompts whole: {cut[0]}"
            for reward in rewards
            for name, cut in reward.overflows(distinct).items()
        ]

    def _table(self, scores: dict[str, list[float]], alive: list[int], rewards: Sequence[Reward]) -> ScoreTable | None:
        if not scores:
            return None
        opened = self.source.open(alive)
        if len(opened.kept) != len(alive):
            found = len(alive) - len(opened.kept)
            raise InputError("pictures", found, "So many were removed while the evaluation ran.")
        seeds = self.source.seeds if isinstance(self.source, SampledPictures) else [None] * len(self.source)
        return ScoreTable(
            opened.pictures,
            tuple(self.rows[i // self.each].prompt for i in alive),
            tuple(seeds[i] for i in alive),
            {name: torch.tensor(column) for name, column in scores.items()},
            rewards[0].name,
        )

    def _name(self, i: int) -> str:
        row = self.rows[i // self.each]
        return f"picture {i + 1} ({row.id})"

    def _about(
        self, extractor: Extractor | None, reference: Reference | None, rewards: Sequence[Reward], read: int
    ) -> dict[str, Any]:
        return {
            "pictures": read,
            "asked": len(self.source),
            "prompts": len(self.rows),
            "images_per_prompt": self.each,
            "source": self.source.identity(),
            "features": None if extractor is None else extractor.about,
            "reference": None if reference is None else reference.name,
            "reference_id": None if reference is None else reference_id(reference),
            "rewards": {
                r.name: {"meaning": r.meaning, "source": r.source}
                for r in (*rewards, *(leaf for one in rewards for leaf in one.leaves))
            },
            "settings": asdict(self.settings),
        }


def _join(sections: Sections, more: Sections) -> None:
    for name, values in more.items():
        sections.setdefault(name, {}).update(values)

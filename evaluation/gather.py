"""Figures of an evaluation from what its processes left in its folder, in the order of the blocks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import torch

from ..core.errors import InputError
from ..core.progress import Progress
from ..ranking.table import ScoreTable
from ..rewards.reward import Reward
from .blocks import StoredFeatures, blocks_of, load_scores, write_file
from .fid.features import Extractor
from .fid.statistics import FeatureStatistics, statistics_file
from .measures import DIVERSITY, FeatureSet, Sections, distances, diversity, feature_set, means
from .references import Reference
from .result import Evaluation
from .run import Run, features_folder, reference_folder, scores_folder
from .settings import OVERALL
from .sources import SampledPictures


def gather(run: Run, progress: Progress) -> Evaluation:
    """Put the figures of all blocks together, and write result.json. The run's folders are by their real paths."""
    sections: Sections = {OVERALL: {}}
    notes: list[str] = []
    broken: dict[int, str] = {}
    progress.phase("measuring", 1)
    if run.extractor is not None:
        found = StoredFeatures(features_folder(run.folder, run.extractor), len(run.source))
        broken |= dict(found.broken)
        prompts = [run.row(i).prompt for i in found.kept]
        variety = diversity(found, prompts)
        if run.reference is not None:
            distance, more = _distances(run, found, run.extractor, run.reference, progress)
            _join(sections, distance)
            notes += more
        if variety is not None:
            sections[OVERALL][DIVERSITY] = variety
    scores = _stored_scores(run)
    broken |= scores.broken
    if scores.columns:
        rows = [run.row(i) for i in scores.kept]
        _join(sections, means(scores.columns, [row.category for row in rows], [row.prompt for row in rows]))
    result = Evaluation(
        run.title,
        run.protocol,
        sections,
        _about(run, len(run.source) - len(broken)),
        (*notes, *_remarks(run)),
        tuple((f"picture {i + 1} ({run.row(i).id})", why) for i, why in sorted(broken.items())),
        _table(run, scores),
    )
    write_file(run.folder / "result.json", json.dumps(result.record(), indent=2, allow_nan=False).encode())
    progress.phase("measuring", 1)
    progress.advance()
    return result


def _join(sections: Sections, more: Sections) -> None:
    for name, values in more.items():
        sections.setdefault(name, {}).update(values)


# --- distances --------------------------------------------------------------------------------


def _distances(
    run: Run, found: StoredFeatures, extractor: Extractor, reference: Reference, progress: Progress
) -> tuple[Sections, list[str]]:
    """Return FID and KID, and what to be careful about; the statistics of both sets are stored."""
    rows = [run.row(i) for i in found.kept]
    about = {**extractor.about, "title": run.title, "protocol": run.protocol, "of": run.source.identity()}
    mine = feature_set(found, [row.category for row in rows], about, [row.prompt for row in rows])
    write_file(run.folder / f"statistics-{extractor.key}.safetensors", statistics_file(mine.statistics))
    known, notes = _reference_features(run, extractor, reference)
    distance, more = distances(mine, known, run.settings, progress)
    return distance, [*notes, *more]


def _reference_features(run: Run, extractor: Extractor, reference: Reference) -> tuple[FeatureSet, list[str]]:
    """Return what FID and KID compare with, and what to be careful about."""
    source = reference.source
    if isinstance(source, FeatureStatistics):
        return FeatureSet(source.about, None, (), source), []
    notes = list(reference.notes)
    folder = reference_folder(run.folder, reference, extractor)
    stored = StoredFeatures(folder, len(source))
    if stored.broken:
        number, why = stored.broken[0]
        now = source.open([number]).broken  # which may know better why
        why = now[0][1] if now else why
        count = f"{len(stored.broken):,} of {len(source):,}"
        notes.append(f"{count} reference pictures cannot be read; number {number + 1} {why}.")
    categories = [reference.categories[i] if reference.categories else "" for i in stored.kept]
    about = {**extractor.about, "name": reference.name, "of": source.identity()}
    known = feature_set(stored, categories, about)
    write_file(folder / "statistics.safetensors", statistics_file(known.statistics))
    return known, notes


# --- rewards ----------------------------------------------------------------------------------


class _Scores(NamedTuple):
    """Scores of the pictures that every reward could score: their indices, a column a reward, why others have none."""

    kept: list[int]
    columns: dict[str, list[float]]
    broken: dict[int, str]


def _stored_scores(run: Run) -> _Scores:
    columns: dict[str, dict[int, float]] = {}
    broken: dict[int, str] = {}
    for reward in run.rewards:
        folder = scores_folder(run.folder, reward)
        for block in range(blocks_of(len(run.source))):
            found = load_scores(folder, block)
            if found is None:
                raise InputError("run_folder", run.folder.name, f"Scores of block {block} are gone; run it again.")
            broken |= dict(found.broken)
            for name, column in found.columns.items():
                columns.setdefault(name, {}).update(zip(found.kept, column, strict=True))
    if run.rewards and not columns:
        raise InputError("pictures", f"{len(broken)} that cannot be read", "There is nothing to score.")
    kept = [i for i in range(len(run.source)) if all(i in column for column in columns.values())]
    return _Scores(kept, {name: [column[i] for i in kept] for name, column in columns.items()}, broken)


def _table(run: Run, scores: _Scores) -> ScoreTable | None:
    if not scores.columns:
        return None
    opened = run.source.open(scores.kept)
    if opened.broken:
        raise InputError("pictures", len(opened.broken), "So many were removed while the evaluation ran.")
    seeds: Sequence[int | None] = [None] * len(run.source)
    if isinstance(run.source, SampledPictures):
        seeds = run.source.seeds
    return ScoreTable(
        opened.pictures,
        tuple(run.row(i).prompt for i in scores.kept),
        tuple(seeds[i] for i in scores.kept),
        {name: torch.tensor(column) for name, column in scores.columns.items()},
        run.rewards[0].name,
    )


def _remarks(run: Run) -> list[str]:
    distinct = list(dict.fromkeys(row.prompt for row in run.rows))
    return [
        f"{name} does not read {len(cut):,} of {len(distinct):,} prompts whole: {cut[0]}"
        for reward in run.rewards
        for name, cut in reward.overflows(distinct).items()
    ]


# --- how it was measured ----------------------------------------------------------------------


def _about(run: Run, read: int) -> dict[str, Any]:
    rewards: list[Reward] = [*run.rewards, *(leaf for one in run.rewards for leaf in one.leaves)]
    return {
        "pictures": read,
        "asked": len(run.source),
        "prompts": len(run.rows),
        "images_per_prompt": run.each,
        "source": run.source.identity(),
        "features": None if run.extractor is None else run.extractor.about,
        "reference": None if run.reference is None else run.reference.name,
        "reference_id": None if run.reference is None else run.reference.id,
        "rewards": {r.name: {"meaning": r.meaning, "source": r.source} for r in rewards},
        "settings": asdict(run.settings),
    }

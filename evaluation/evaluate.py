"""`evaluate`: prompts and a model, or finished pictures, to figures that a report is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InputError
from ..core.files import sweep
from ..core.progress import Place, Progress, Scaled, Within, stay
from ..core.shares import Share
from ..images.pictures import Pictures
from ..ranking.scoring import score_pictures
from ..rewards.reward import Reward
from .blocks import BlockScores, block_range, blocks_of, has_features, load_scores, save_features, save_scores
from .fid.features import Extractor, FeatureRows, read_features
from .fid.statistics import FeatureStatistics
from .gather import gather
from .result import Evaluation
from .run import Run, check_run, features_folder, open_folder, reference_folder, scores_folder
from .sources import SampledPictures, Source


def evaluate(
    run: Run, *, share: Share | None = None, place: Place = stay, progress: Progress | None = None
) -> Evaluation | None:
    """Measure one set of pictures.

    Everything is kept in the run's folder as it goes on: the same call again goes on where it stopped, with the same
    result, and another reward or reference later costs only itself.

    Args:
        run: the pictures, and what to measure of them.
        share: this process's part; only rank 0 returns figures.
        place: puts networks where they compute; a host's memory management.
        progress: a phase for sampling, reading, each reward and each figure; what it raises stops the work.

    Raises:
        InputError: arguments that do not fit together; a folder of another run; fewer than two pictures for FID.
    """
    run, share, progress = run.real, share or Share(), progress or Progress()
    check_run(run)
    with open_folder(run, share):
        sample_pictures(run.source, share, progress)
        if run.extractor is not None:
            folder, reference = features_folder(run.folder, run.extractor), run.reference
            _read(run.source, run.extractor, folder, "reading", share, place, progress)
            if reference is not None and not isinstance(reference.source, FeatureStatistics):
                folder = reference_folder(run.folder, reference, run.extractor)
                _read(reference.source, run.extractor, folder, "reference", share, place, progress)
        for reward in run.rewards:
            _score(run, reward, share, place, progress)
        share.wait()
        return gather(run, progress) if share.gathers else None


def sample_pictures(source: Source, share: Share, progress: Progress) -> None:
    """Make the pictures of this process's blocks that are not there yet."""
    if not isinstance(source, SampledPictures):
        return
    blocks = [block_range(b, len(source)) for b in share.numbers(blocks_of(len(source)))]
    total = sum(map(len, blocks))
    done = total - sum(len(source.missing(block)) for block in blocks)
    if done == total:
        return
    progress.phase("sampling", total)
    progress.advance(done)
    for block in blocks:
        source.make(block, Within(progress))


def _begin(progress: Progress, name: str, blocks: Sequence[int], count: int) -> None:
    """Begin a phase over the pictures of some blocks, if there are any."""
    if blocks:
        progress.phase(name, sum(len(block_range(block, count)) for block in blocks))


def _read(
    source: Source, extractor: Extractor, folder: Path, phase: str, share: Share, place: Place, progress: Progress
) -> None:
    """Read the features of this process's blocks of a set."""
    count = len(source)
    sweep(folder)  # other evaluations keep the reference's there too
    left = [b for b in share.numbers(blocks_of(count)) if not has_features(folder, b, extractor.features)]
    _begin(progress, phase, left, count)
    for block in left:
        opened = source.open(block_range(block, count))
        progress.advance(len(opened.broken))
        found = read_features(opened.pictures, extractor, place=place, progress=Within(progress))
        kept = tuple(opened.kept[i] for i in found.kept)
        broken = (*opened.broken, *((opened.kept[i], why) for i, why in found.broken))
        save_features(folder, block, FeatureRows(found.features, kept, tuple(sorted(broken))))


def _score(run: Run, reward: Reward, share: Share, place: Place, progress: Progress) -> None:
    """Score this process's blocks."""
    folder, count = scores_folder(run.folder, reward), len(run.source)
    left = [b for b in share.numbers(blocks_of(count)) if load_scores(folder, b) is None]
    silent = reward.silent  # `gather` says what it does not read
    _begin(progress, f"scoring with {reward.name}", left, count)
    for block in left:
        opened = run.source.open(block_range(block, count))
        progress.advance(len(opened.broken))
        prompts = [run.row(i).prompt for i in opened.kept]
        found = _scores(silent, opened.pictures, opened.kept, prompts, place, progress)
        save_scores(folder, block, found._replace(broken=sorted([*opened.broken, *found.broken])))


def _scores(
    reward: Reward, pictures: Pictures, kept: Sequence[int], prompts: list[str], place: Place, progress: Progress
) -> BlockScores:
    """Score pictures, whose indices in the whole set are `kept`."""
    if not kept:
        return BlockScores([], {}, [])
    within = Scaled(progress, len(kept))
    try:  # the indices go as seeds, which stay with the rows that could be scored
        scored = score_pictures(pictures, prompts, reward, seeds=list(kept), place=place, progress=within)
    except InputError as e:
        if e.name != "images" or pictures.batch() is not None:
            raise
        return BlockScores([], {}, [(i, "cannot be read") for i in kept])
    alive = [int(seed) for seed in scored.table.seeds if seed is not None]
    left_out = sorted(set(kept) - set(alive))  # in the order of `broken`, whose names need not differ
    broken = [(i, why) for i, (_, why) in zip(left_out, scored.broken, strict=True)]
    return BlockScores(alive, {n: c.double().tolist() for n, c in scored.table.scores.items()}, broken)

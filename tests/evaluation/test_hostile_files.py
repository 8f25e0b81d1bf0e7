"""Evaluations, statistics and studies whose files somebody else had in hand."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from tastemaker.core.errors import InputError, ModelFileError
from tastemaker.evaluation import gather
from tastemaker.evaluation.blocks import BLOCK, BlockScores, load_scores, save_features, save_scores
from tastemaker.evaluation.evaluate import evaluate
from tastemaker.evaluation.fid.features import FeatureRows, load_extractor
from tastemaker.evaluation.fid.statistics import FORMAT, load_statistics, save_statistics, statistics_of
from tastemaker.evaluation.protocols import PromptRow
from tastemaker.evaluation.references import Reference
from tastemaker.evaluation.report.content import inert_markdown
from tastemaker.evaluation.result import Evaluation
from tastemaker.evaluation.run import Run, features_folder
from tastemaker.evaluation.settings import EvaluationSettings
from tastemaker.evaluation.sources import GivenPictures
from tastemaker.evaluation.votes.store import Study, StudyError
from tastemaker.evaluation.votes.votes import CastVote, shuffle_ballots
from tastemaker.images.pictures import TensorPictures
from tastemaker.rewards import Reward
from tests.evaluation.test_votes import pairs
from tests.promptly import promptly

SETTINGS = EvaluationSettings(kid_subsets=2, kid_subset_size=4, resamples=2)
BRIGHT = Reward("brightness", lambda images, prompts: images.mean((1, 2, 3)), False, "0 to 1.", "f" * 16)
ROWS = [PromptRow(str(i), f"prompt {i}") for i in range(6)]


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load_extractor("tiny-vision")


def batch(seed: int, count: int = 6) -> TensorPictures:
    return TensorPictures(torch.rand(count, 16, 16, 3, generator=torch.Generator().manual_seed(seed)))


def run(folder: Path, tiny: Any, kept: Path | None = None) -> Evaluation | None:
    reference = Reference("others", GivenPictures(batch(1)), folder=kept)
    what = {"extractor": tiny, "reference": reference, "rewards": [BRIGHT], "settings": SETTINGS}
    return evaluate(Run("mine", ROWS, GivenPictures(batch(0)), folder, **what))


@pytest.mark.parametrize("name", ["features", "scores", "reference"])
def test_linked_folders_of_an_evaluation_are_not_written_to(tmp_path: Path, tiny: Any, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".keep.part").write_text("theirs")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(outside)
    with pytest.raises(InputError, match="link") as caught:
        run(tmp_path / "run", tiny)
    assert str(tmp_path) not in str(caught.value)
    assert [p.name for p in outside.iterdir()] == [".keep.part"]


def test_a_linked_folder_of_references_is_not_written_to(tmp_path: Path, tiny: Any) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "evaluations").mkdir()
    (tmp_path / "evaluations" / "reference").symlink_to(outside)
    with pytest.raises(InputError, match="link"):
        run(tmp_path / "evaluations" / "run", tiny, tmp_path / "evaluations" / "reference")
    assert list(outside.iterdir()) == []


def test_a_full_disk_is_said_in_words(tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is being written when the room ends."""
    from tastemaker.evaluation import blocks

    names: list[str] = []

    def counting(path: Path, data: bytes) -> None:
        names.append(path.name)
        path.write_bytes(data)

    monkeypatch.setattr(blocks, "write_atomic", counting)
    run(tmp_path / "run", tiny)
    assert "statistics.safetensors" in names
    for left in range(len(names)):
        room = iter(range(left))

        def full(path: Path, data: bytes, room: Any = room) -> None:
            if next(room, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            path.write_bytes(data)

        monkeypatch.setattr(blocks, "write_atomic", full)
        with pytest.raises(InputError, match="No space left") as caught:
            run(tmp_path / f"full{left}", tiny)
        assert str(tmp_path) not in str(caught.value)
    assert gather.write_file is blocks.write_file


@pytest.mark.parametrize("content", ['{"identity": [1]}', "[" * 100_000, '{"identity": 5}'], ids=["list", "deep", "5"])
def test_an_identity_that_is_none_is_damaged(tmp_path: Path, tiny: Any, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelFileError, match=r"config\.json .* is damaged"):
        run(tmp_path, tiny)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("kind", ["pipe", "link", "zeros"])
def test_a_config_that_is_no_file_is_said_at_once(tmp_path: Path, tiny: Any, kind: str) -> None:
    path = tmp_path / "config.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(10 * 2**30)
    with promptly(2), pytest.raises(ModelFileError, match=r"config\.json"):
        run(tmp_path, tiny)


# --- blocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"kept": [10**9]},
        {"kept": [0.0]},
        {"kept": [True]},
        {"kept": [1, 0]},
        {"kept": [0, 0]},
        {"columns": {"r": [float("nan"), 1.0]}},
        {"columns": {"r": ["1", 2.0]}},
        {"columns": {"r": [10**400, 1.0]}},
        {"columns": {"r": [1.0]}},
        {"columns": [1.0, 2.0]},
        {"broken": [[1e999, 5]]},
        {"broken": "abc"},
        {"broken": [[2, 5]]},
        {"format": "other"},
    ],
    ids=str,
)
def test_scores_nobody_wrote_are_made_again(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = Path(os.path.realpath(tmp_path))
    save_scores(folder, 0, BlockScores([0, 1], {"r": [0.5, 1.0]}, [(2, "is broken")]))
    assert load_scores(folder, 0).broken == [(2, "is broken")]
    record = json.loads((folder / "000000.json").read_text())
    (folder / "000000.json").write_text(json.dumps(record | change))
    assert load_scores(folder, 0) is None


def test_places_of_another_block_are_no_block(tmp_path: Path) -> None:
    folder = Path(os.path.realpath(tmp_path))
    save_scores(folder, 1, BlockScores([BLOCK], {"r": [0.5]}, []))
    assert load_scores(folder, 1) is not None
    os.replace(folder / "000001.json", folder / "000000.json")
    assert load_scores(folder, 0) is None


@pytest.mark.parametrize("how", ["nan", "places", "broken", "deep", "format", "empty", "pipe"])
def test_features_nobody_wrote_are_read_again(tmp_path: Path, tiny: Any, how: str) -> None:
    folder = Path(os.path.realpath(tmp_path))
    first = run(folder, tiny)
    block = features_folder(folder, tiny) / "000000.safetensors"
    rows = torch.zeros(6, tiny.features)
    if how == "nan":
        save_features(block.parent, 0, FeatureRows(rows / 0, tuple(range(6)), ()))
    elif how == "places":
        save_features(block.parent, 0, FeatureRows(rows, tuple(range(10**9, 10**9 + 6)), ()))
    elif how == "empty":
        block.write_bytes(b"")
    elif how == "pipe":
        block.unlink()
        os.mkfifo(block)
    else:
        broken = {"broken": "[[1e999, 5]]", "deep": "[" * 100_000, "format": "[]"}[how]
        metadata = {"format": "x" if how == "format" else "tastemaker-block-1", "broken": broken}
        block.write_bytes(save({"features": rows, "kept": torch.arange(6)}, metadata))
    again = run(folder, tiny)
    assert str(again.sections) == str(first.sections)  # an interval of few pictures is NaN, which equals nothing


# --- statistics -------------------------------------------------------------------------------


def stored(path: Path, count: Any = 8, **change: torch.Tensor) -> None:
    made = statistics_of([torch.rand(8, 3, generator=torch.Generator().manual_seed(0))])
    tensors = {"mean": made.mean, "scatter": made.scatter} | change
    save_file(tensors, path, {"format": FORMAT, "about": json.dumps({"count": count})})


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("negative variance", {"scatter": -torch.eye(3, dtype=torch.float64)}),
        # eigenvalues 3, -1 and 1, though no number on its diagonal is negative
        ("negative variance", {"scatter": torch.eye(3).double() + torch.tensor([[0.0, 2, 0], [2, 0, 0], [0, 0, 0]])}),
        ("not symmetric", {"scatter": torch.arange(9, dtype=torch.float64).reshape(3, 3) + 9 * torch.eye(3)}),
        ("larger than", {"mean": torch.full((3,), 1e300, dtype=torch.float64)}),
        ("larger than", {"scatter": 1e300 * torch.eye(3, dtype=torch.float64)}),
        ("shapes", {"mean": torch.zeros(2, dtype=torch.float64)}),
        ("numbers", {"mean": torch.full((3,), float("nan"), dtype=torch.float64)}),
        ("count", {"count": 10**400}),
        ("count", {"count": True}),
        ("count", {"count": 0}),
    ],
)
def test_what_is_no_covariance_gives_no_fid(tmp_path: Path, what: str, change: dict[str, Any]) -> None:
    stored(tmp_path / "s.safetensors")
    assert load_statistics(tmp_path / "s.safetensors").count == 8
    stored(tmp_path / "s.safetensors", **change)
    with pytest.raises(ModelFileError, match=what):
        load_statistics(tmp_path / "s.safetensors")


def test_few_pictures_of_many_features_are_a_covariance(tmp_path: Path) -> None:
    """Its smallest variances are 0, up to rounding on either side."""
    made = statistics_of([1e-2 * torch.rand(5, 300, generator=torch.Generator().manual_seed(0)) + 5])
    save_statistics(tmp_path / "s.safetensors", made)
    assert torch.equal(load_statistics(tmp_path / "s.safetensors").scatter, made.scatter)
    assert load_file(tmp_path / "s.safetensors")["mean"].shape == (300,)


def test_the_same_picture_twice_is_a_covariance_of_zeros(tmp_path: Path) -> None:
    save_statistics(tmp_path / "s.safetensors", statistics_of([torch.ones(2, 3)]))
    assert not load_statistics(tmp_path / "s.safetensors").scatter.any()


# --- reports ----------------------------------------------------------------------------------


def test_markdown_of_a_report_holds_no_html_and_no_link() -> None:
    text = inert_markdown("| <script>x</script> | ![a](http://b) &lt; `c` |")
    assert text == "| &#60;script&#62;x&#60;/script&#62; | !&#91;a&#93;(http://b) &#38;lt; &#96;c&#96; |"


# --- studies ----------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "s.sqlite"
    with Study(path) as file:
        some = pairs(3)
        drawn = shuffle_ballots(file.secret, [p.key for p in some], seed=1, voter="ann", question="aesthetics", count=3)
        file.add_pairs(some)
        file.add_round(drawn, voter="ann", question="aesthetics", seed=1)
        file.store([CastVote(ballot.token, "left", 5) for ballot in drawn])
        assert len(file.rows()) == 3
    return path


CHANGES = [
    "DELETE FROM meta WHERE name = 'secret'",
    *(
        f"UPDATE meta SET value = {v} WHERE name = 'secret'"
        for v in ("'text'", "NULL", "5e12", "5000000000000", "x'00'")
    ),
    *(f"UPDATE pairs SET scores = {v}" for v in ("'x'", "'[1]'", "x'00'", "'{\"r\": [1]}'", "'{\"r\": [1e999, 2]}'")),
    'UPDATE pairs SET scores = \'{"r": ["1", 2]}\'',
    "UPDATE pairs SET seed = 'x'",
    *(f"UPDATE votes SET at = {v}" for v in ("'x'", "x'00'", "9223372036854775807", "-1", "1.5")),
    "UPDATE votes SET pick = 'both'",
    "UPDATE ballots SET second_left = 'x'",
    *(f"UPDATE pairs SET {column} = x'00ff'" for column in ("prompt", "first", "second")),
    "UPDATE votes SET voter = x'00ff'",
    "DROP TABLE votes; CREATE VIEW votes AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x "
    "AS pair, x AS voter, x AS question, x AS token, x AS choice, x AS pick, x AS at, x AS stored FROM n",
    "CREATE TRIGGER t AFTER INSERT ON votes BEGIN DELETE FROM votes; END",
    "ALTER TABLE votes ADD COLUMN more",
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda text: text[:60])
def test_a_tampered_study_is_said_in_words(study: Path, change: str) -> None:
    with sqlite3.connect(study) as file:
        file.executescript(change)
    with promptly(5):

        def use() -> None:
            with Study(study) as found:
                assert found.secret
                found.add_pairs(pairs(3))
                found.votes_of("ann", "aesthetics")
                found.rows()

        if change == "UPDATE votes SET voter = x'00ff'":  # nobody's votes; the rest can be read
            use = lambda: _rows(study)  # noqa: E731
        with pytest.raises(StudyError, match=r"s\.sqlite cannot be used") as caught:
            use()
        assert str(study.parent) not in str(caught.value)


def _rows(study: Path) -> None:
    with Study(study) as found:
        found.rows()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "zeros"])
def test_a_study_that_is_no_file_is_said_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.sqlite"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(10 * 2**30)
    with promptly(1):
        with pytest.raises(StudyError, match=r"s\.sqlite cannot be used") as caught:
            _rows(path)
        assert str(tmp_path) not in str(caught.value)

"""Scoring in pieces: aligned, resumable, cached, with broken files left out."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tastemaker.images.convert import to_pil
from tastemaker.images.folder import read_folder
from tastemaker.loaders import InputError
from tastemaker.ranking.cache import ScoreCache
from tastemaker.ranking.scoring import Scored, score_pictures
from tastemaker.rewards.combined import combine
from tastemaker.rewards.reward import Reward
from tests.recorded import Placed, Recorded


class Brightness:
    """A reward that counts what it is shown: the mean of the pixels, and one for each letter of the prompt."""

    def __init__(self, name: str = "bright", fingerprint: str = "one", **changes: Any) -> None:
        self.shown = 0
        self.largest = 0
        self.reward = Reward(
            name=name,
            score=self.score,
            picture_score=self.picture_score,
            needs_prompt=False,
            meaning="",
            fingerprint=fingerprint,
            **changes,
        )

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return self.picture_score([to_pil(image) for image in images], prompts)

    def picture_score(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> torch.Tensor:
        self.shown += len(pictures)
        self.largest = max(self.largest, len(pictures))
        means = [float(np.asarray(p.convert("RGB")).mean()) for p in pictures]
        return torch.tensor([mean + len(text) for mean, text in zip(means, prompts, strict=True)])


def folder(path: Path, count: int, sizes: Sequence[tuple[int, int]] = ((8, 8),)) -> Any:
    path.mkdir(exist_ok=True)
    for i in range(count):
        Image.new("RGB", sizes[i % len(sizes)], (i, i, i)).save(path / f"{i:03}.png")
    return read_folder(path).pictures


def scored_with(cache: Path | None, *arguments: Any, **options: Any) -> Scored:
    if cache is None:
        return score_pictures(*arguments, **options)
    with ScoreCache(cache) as opened:
        return score_pictures(*arguments, cache=opened, **options)


def test_files_of_every_size_are_scored_in_order(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "in", 30, sizes=[(8, 8), (5, 9), (64, 3)])
    prompts = ["x" * (i % 4) for i in range(30)]
    bright = Brightness()
    scored = score_pictures(pictures, prompts, bright.reward, seeds=range(30))
    assert scored.table.scores["bright"].tolist() == [i + i % 4 for i in range(30)]
    assert scored.table.scores["bright"].dtype == torch.float32
    assert scored.table.seeds == tuple(range(30))
    assert scored.broken == ()
    assert bright.largest <= 8  # pieces: memory does not grow with the folder


def test_files_and_a_batch_of_the_same_pictures_score_the_same(tmp_path: Path, tiny_reward: Reward) -> None:
    generator = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    pictures = read_folder(tmp_path).pictures
    batch = torch.stack([pictures.picture(i) for i in range(5)])
    one = score_pictures(pictures, "a red star", tiny_reward).table.scores[tiny_reward.name]
    two = score_pictures(batch, "a red star", tiny_reward).table.scores[tiny_reward.name]
    assert torch.allclose(one, two, atol=1e-6)
    assert torch.allclose(two, tiny_reward(batch, "a red star"), atol=1e-6)


def test_a_transparent_file_scores_as_the_reference_scores_it(tmp_path: Path, tiny_reward: Reward) -> None:
    """The reference resizes with the alpha and drops it after; `picture_columns` of the opened file does that."""
    from tests.conftest import GOLDENS

    (tmp_path / "a.png").write_bytes((GOLDENS / "tall_rgba.png").read_bytes())
    found = score_pictures(read_folder(tmp_path).pictures, "a red star", tiny_reward).table.scores[tiny_reward.name]
    expected = tiny_reward.picture_columns([tmp_path / "a.png"], "a red star")[tiny_reward.name]
    assert torch.equal(found, expected)


def test_broken_files_drop_out_of_every_column(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "in", 20)
    data = (tmp_path / "in" / "004.png").read_bytes()
    # whole chunks, damaged pixels: only decoding tells
    (tmp_path / "in" / "004.png").write_bytes(data.replace(b"IDAT", b"IDAT", 1)[:60] + b"\0" * 9 + data[69:])
    (tmp_path / "in" / "011.png").unlink()
    bright = Brightness()
    extras = {"latents": torch.arange(20.0).reshape(20, 1, 1, 1)}
    prompts = [str(i) for i in range(20)]
    scored = scored_with(tmp_path / "c", pictures, prompts, bright.reward, seeds=range(20), extras=extras)
    kept = [i for i in range(20) if i not in (4, 11)]
    assert [name for name, _ in scored.broken] == ["004.png", "011.png"]
    assert scored.table.seeds == tuple(kept)
    assert scored.table.prompts == tuple(map(str, kept))
    assert scored.table.extras["latents"].flatten().tolist() == kept
    assert scored.table.scores["bright"].tolist() == [i + len(str(i)) for i in kept]
    assert [scored.table.pictures.name(i) for i in range(5)] == ["000.png", "001.png", "002.png", "003.png", "005.png"]


def test_nothing_but_broken_files_is_an_error(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "in", 2)
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="None of the 2 pictures"):
        score_pictures(pictures, "a", Brightness().reward)


def test_an_empty_prompt_is_said_before_any_work(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "in", 3)
    bright = Brightness()
    reward = replace(bright.reward, needs_prompt=True)
    with pytest.raises(InputError, match=r"1 of 3 pictures have none, 001\.png first"):
        score_pictures(pictures, ["a", " ", "b"], reward)
    assert bright.shown == 0


# --- the cache --------------------------------------------------------------------------------


def test_the_second_time_costs_nothing(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "in", 20)
    bright = Brightness()
    place = Placed()
    one = scored_with(tmp_path / "c", pictures, "a", bright.reward, place=place)
    two = scored_with(tmp_path / "c", pictures, "a", bright.reward, place=place)
    assert (one.remembered, two.remembered, bright.shown, len(place.calls)) == (0, 20, 20, 1)
    assert torch.equal(one.table.scores["bright"], two.table.scores["bright"])


@pytest.mark.parametrize("batch", [True, False])
def test_what_is_another_score_is_scored_again(tmp_path: Path, batch: bool) -> None:
    pictures = folder(tmp_path / "in", 4)
    given = torch.stack([pictures.picture(i) for i in range(4)]) if batch else pictures
    bright, cache = Brightness(), tmp_path / "c"
    scored_with(cache, given, "a", bright.reward)
    scored_with(cache, given, "a", bright.reward)
    assert bright.shown == 4
    scored_with(cache, given, "b", bright.reward)
    assert bright.shown == 8  # another prompt
    scored_with(cache, given, "a", replace(bright.reward, fingerprint="two"))
    assert bright.shown == 12  # other weights
    half = {"network": torch.nn.Linear(1, 1).half()}
    scored_with(cache, given, "a", replace(bright.reward, modules=half))
    assert bright.shown == 16  # another number format
    scored_with(cache, given, "a", replace(bright.reward, fingerprint=""))
    scored_with(cache, given, "a", replace(bright.reward, fingerprint=""))
    assert bright.shown == 24  # a reward that cannot be told from others is never remembered


def test_a_changed_file_is_scored_again_and_a_copy_is_not(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "in", 3)
    bright, cache = Brightness(), tmp_path / "c"
    scored_with(cache, pictures, "a", bright.reward)
    Image.new("RGB", (8, 8), (200, 200, 200)).save(tmp_path / "in" / "001.png")
    (tmp_path / "in" / "003.png").write_bytes((tmp_path / "in" / "000.png").read_bytes())
    found = scored_with(cache, read_folder(tmp_path / "in").pictures, "a", bright.reward)
    assert bright.shown == 4
    assert found.table.scores["bright"].tolist() == [1, 201, 3, 1]


def test_stopping_keeps_what_was_done(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "in", 40)
    bright, cache = Brightness(), tmp_path / "c"

    class Stop(BaseException):
        pass

    def stop(phase: str, done: int, total: int) -> None:
        if done >= 20:
            raise Stop

    with pytest.raises(Stop):
        scored_with(cache, pictures, "a", bright.reward, progress=Recorded(stop))
    assert bright.shown == 24
    progress = Recorded()
    scored = scored_with(cache, pictures, "a", bright.reward, progress=progress)
    assert bright.shown == 40
    assert scored.remembered == 24
    assert progress.done == sorted(progress.done)
    assert progress.counts[-1] == (40, 40)


@pytest.mark.parametrize("what", ["text", "a cut database", "another program's", "a folder"])
def test_a_damaged_file_is_put_aside_and_said(tmp_path: Path, what: str) -> None:
    pictures, cache = folder(tmp_path / "in", 3), tmp_path / "cache" / "c"
    cache.parent.mkdir()
    if what == "text":
        cache.write_bytes(b"this is no database, but long enough to be taken for one " * 40)
    elif what == "another program's":
        with sqlite3.connect(cache) as file:
            file.execute("CREATE TABLE scores (something TEXT)")
        file.close()
    elif what == "a folder":
        cache.mkdir()
    else:
        scored_with(cache, folder(tmp_path / "more", 200), "a", Brightness().reward)
        data = cache.read_bytes()
        cache.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    bright = Brightness()
    found = scored_with(cache, pictures, "a", bright.reward)
    assert found.table.scores["bright"].tolist() == [1, 2, 3]
    if what == "a folder":
        assert "cannot be used" in found.note
        return
    assert "damaged" in found.note
    assert [p.name for p in cache.parent.iterdir() if "damaged" in p.name]
    assert scored_with(cache, pictures, "a", bright.reward).remembered == 3


def test_rows_that_nobody_stored_are_not_believed(tmp_path: Path) -> None:
    pictures, cache = folder(tmp_path / "in", 5), tmp_path / "c"
    scored_with(cache, pictures, "a", Brightness().reward)
    bad = ["{", '{"bright": NaN}', '{"bright": "5"}', '{"other": 1}', "[]"]
    with sqlite3.connect(cache) as file:
        for row, text in enumerate(bad, start=1):
            file.execute("UPDATE scores SET columns = ? WHERE rowid = ?", (text, row))
    file.close()
    found = scored_with(cache, pictures, "a", Brightness().reward)
    assert found.remembered == 0
    assert found.table.scores["bright"].tolist() == [1, 2, 3, 4, 5]


def test_a_locked_file_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, cache = folder(tmp_path / "in", 3), tmp_path / "c"
    scored_with(cache, pictures, "a", Brightness().reward)
    monkeypatch.setattr("tastemaker.ranking.cache._WAIT_SECONDS", 0.1)
    holder = sqlite3.connect(cache, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    known = scored_with(cache, pictures, "a", Brightness().reward)
    fresh = scored_with(cache, pictures, "b", Brightness().reward)
    holder.execute("ROLLBACK")
    holder.close()
    assert known.remembered == 3  # reading goes on while another server writes
    assert fresh.table.scores["bright"].tolist() == [1, 2, 3]
    assert "locked" in fresh.note


def test_two_at_once_share_a_file(tmp_path: Path) -> None:
    cache, found = tmp_path / "c", {}

    def work(name: str) -> None:
        pictures = folder(tmp_path / name, 40)
        found[name] = scored_with(cache, pictures, name, Brightness().reward)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[name].note for name in "ab"] == ["", ""]
    for name in "ab":
        assert scored_with(cache, read_folder(tmp_path / name).pictures, name, Brightness().reward).remembered == 40


def test_many_that_begin_a_file_at_once_agree_on_one(tmp_path: Path) -> None:
    for number in range(10):
        problems: list[str] = []
        together = threading.Barrier(6)

        def begin(path: Path, together: threading.Barrier, problems: list[str]) -> None:
            together.wait()
            with ScoreCache(path) as cache:
                problems.append(cache.problem)

        work = (tmp_path / f"{number}", together, problems)
        threads = [threading.Thread(target=begin, args=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == [""] * 6


def test_a_read_only_place_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = scored_with(tmp_path / "file" / "c", folder(tmp_path / "in", 2), "a", Brightness().reward)
    assert found.table.scores["bright"].tolist() == [1, 2]
    assert "cannot be used" in found.note


# --- several rewards --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["batch", "ranks"])
def test_a_combined_reward_is_the_same_in_pieces(tmp_path: Path, mode: str) -> None:
    pictures = folder(tmp_path / "in", 30)
    prompts = ["a" if i % 2 else "bb" for i in range(30)]
    one, two = Brightness("one"), Brightness("two", fingerprint="other")
    reward = combine([(one.reward, 1.0), (two.reward, -0.5)], mode=mode)
    expected = reward.columns(torch.stack([pictures.picture(i) for i in range(30)]), prompts)
    shown = one.shown
    for remembered in (0, 30):
        scored = scored_with(tmp_path / "c", pictures, prompts, reward)
        assert scored.remembered == remembered
        assert list(scored.table.scores) == ["combined", "one", "two"]
        assert scored.table.main == "combined"
        for name, column in expected.items():
            assert torch.allclose(scored.table.scores[name], column, atol=1e-6), name
    assert one.shown == shown + 30
    # the cache knows the members, so another combination of them costs nothing
    other = combine([(one.reward, 2.0), (two.reward, 1.0)], mode=mode)
    assert scored_with(tmp_path / "c", pictures, prompts, other).remembered == 30


def test_a_long_prompt_is_remarked_on_once(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "in", 40)
    reward = replace(Brightness().reward, overflow=lambda text: [f"only half of {text!r}"])
    scored = score_pictures(pictures, ["long"] * 40, reward)
    assert scored.remarks == ("bright: only half of 'long'",)
    many = score_pictures(pictures, [f"long {i}" for i in range(40)], reward)
    assert len(many.remarks) == 21
    assert many.remarks[-1] == "and 20 more such prompts"

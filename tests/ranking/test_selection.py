"""Buckets, thresholds, picks by hand and pictures of several sizes, small enough to do by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tastemaker.core.groups import best_first, rank
from tastemaker.images.batch import batches, fitted
from tastemaker.images.decode import PictureError
from tastemaker.images.pictures import Pictures
from tastemaker.loaders import InputError
from tastemaker.ranking import ScoreTable
from tastemaker.ranking.selection import RankOptions, bucket_of_ranks, bucket_of_scores, find_picks, parse_picks
from tastemaker.ranking.table import rank_table
from tests.promptly import promptly
from tests.recorded import Recorded


def table(scores: list[float], prompts: str = "a", **others: Any) -> ScoreTable:
    """Picture i is grey of i / 100; `prompts` has a letter a row, or one for all."""
    count = len(scores)
    images = torch.arange(float(count)).view(count, 1, 1, 1).expand(count, 2, 2, 3) / 100
    texts = tuple(prompts if len(prompts) == count else prompts * count)
    columns = {"r": torch.tensor(scores), "s": -torch.tensor(scores)}
    return ScoreTable(images, texts, tuple(range(count)), columns, "r", **others)


class Mixed(Pictures):
    """Pictures of the sizes given, (height, width), each with its own grey and a key of its place."""

    def __init__(self, *sizes: tuple[int, int]) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def picture(self, i: int) -> torch.Tensor:
        return torch.full((*self.sizes[i], 3), (i + 1) * 51 / 255)

    def size(self, i: int) -> tuple[int, int]:
        return self.sizes[i]

    def rows(self, index: Any) -> Mixed:
        return Mixed(*(self.sizes[i] for i in index))

    def name(self, i: int) -> str:
        return f"{i}.png"

    def key(self, i: int) -> str:
        return f"{i:064x}"


def test_thirds_by_rank() -> None:
    """3 (r - 1) < n is great, < 2 n ok: of two 1, 1 and 0, of four 2, 1 and 1, of seven 3, 2 and 2."""
    assert bucket_of_ranks([1], [1]) == ("great",)
    assert bucket_of_ranks([1, 2], [2, 2]) == ("great", "ok")
    assert bucket_of_ranks([1, 2, 3], [3] * 3) == ("great", "ok", "bad")
    assert bucket_of_ranks([1, 2, 3, 4], [4] * 4) == ("great", "great", "ok", "bad")
    assert bucket_of_ranks(range(1, 8), [7] * 7) == (*["great"] * 3, *["ok"] * 2, *["bad"] * 2)
    assert bucket_of_ranks([1, 1, 1], [3] * 3) == ("great",) * 3  # ties stay together


def test_buckets_by_scores() -> None:
    assert bucket_of_scores([1.0, 0.99, 0.0, -0.01], 1.0, 0.0) == ("great", "ok", "ok", "bad")
    assert bucket_of_scores([0.5, 0.4], 0.5, 0.5) == ("great", "bad")


def test_thirds_are_of_each_group() -> None:
    ranked, _, _ = rank_table(table([0.1, 9.0, 0.2, 8.0, 0.3, 7.0], "ababab"), top_k=0, group_by="prompt")
    assert ranked.prompts == ("a", "a", "a", "b", "b", "b")
    assert ranked.buckets == ("great", "ok", "bad") * 2
    ranked, _, _ = rank_table(table([0.1, 9.0, 0.2, 8.0, 0.3, 7.0], "ababab"), top_k=0, group_by="all")
    assert ranked.buckets == ("great", "great", "ok", "ok", "bad", "bad")


def test_keep_is_a_threshold_before_top_k() -> None:
    scores = [2.0, 1.5, 0.5, -1.0]
    by_score = {"buckets": "scores", "great_from": 1.0, "ok_from": 0.0, "group_by": "all"}
    _, kept, rejected = rank_table(table(scores), top_k=0, keep="ok", **by_score)
    assert (kept, rejected) == ([0, 1, 2], [3])
    _, kept, rejected = rank_table(table(scores), top_k=1, keep="great", **by_score)
    assert (kept, rejected) == ([0], [1, 2, 3])
    _, kept, rejected = rank_table(table([-1.0, -2.0]), top_k=4, keep="great", **by_score)
    assert (kept, rejected) == ([], [0, 1])


def test_any_column_can_rank() -> None:
    ranked, kept, _ = rank_table(table([0.1, 0.9, 0.5]), top_k=1, group_by="all", rank_by="s")
    assert ranked.seeds == (0, 2, 1)
    assert ranked.main == "s"
    assert [r["score"] for r in ranked.rows(kept).records()] == [pytest.approx(-0.1)]
    with pytest.raises(InputError, match=r"rank_by.*columns for r, s"):
        rank_table(table([0.1]), rank_by="t")


def test_what_belongs_to_a_picture_goes_where_it_goes() -> None:
    latents = torch.arange(3.0).view(3, 1, 1, 1)
    ranked, kept, _ = rank_table(table([0.1, 0.9, 0.5], extras={"latents": latents}), top_k=2, group_by="all")
    best = ranked.rows(kept)
    assert best.extras["latents"].flatten().tolist() == [1.0, 2.0]
    assert best.seeds == (1, 2)
    assert best.images[:, 0, 0, 0].tolist() == [pytest.approx(0.01), pytest.approx(0.02)]
    with pytest.raises(InputError, match="masks"):
        table([0.1, 0.9], extras={"masks": torch.zeros(3, 2, 2)})


def test_a_score_that_is_no_number_is_named() -> None:
    with pytest.raises(InputError, match=r"nan for picture 2"):
        rank_table(table([0.1, float("nan")]))
    with pytest.raises(InputError, match="nothing to rank"):
        rank_table(table([0.1]).rows([]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("top_k", v) for v in (-1, 4097, 1.5, True, "4", None, float("nan"))),
        *(("great_from", v) for v in (float("nan"), float("inf"), "1", None, 1e7, -0.5)),
        *(("ok_from", v) for v in (float("nan"), float("-inf"), 2.0)),
        *((n, v) for n in ("group_by", "keep", "buckets", "sizes") for v in ("", "../x", "Thirds", None)),
        ("rank_by", 3),
    ],
)
def test_settings_outside_their_limits_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=r"great_from|ok_from" if name == "ok_from" else name):
        RankOptions(**{name: value})


def test_ten_thousand_rows_rank_like_the_definition() -> None:
    """Rank is one more than how many in the group are better. Compared row by row for a sample."""
    torch.manual_seed(0)
    scores, groups = torch.randint(0, 500, (10_000,)).float(), [f"p{i % 7}" for i in range(10_000)]
    with promptly(5):  # the old way compared every pair
        ranks, order = rank(scores, groups), best_first(scores, groups)
    label = torch.tensor([i % 7 for i in range(10_000)])
    for i in range(0, 10_000, 97):
        assert int(ranks[i]) == 1 + int(((scores > scores[i]) & (label == label[i])).sum())
    wanted = sorted(range(10_000), key=lambda i: (i % 7, -float(scores[i]), i))
    assert order == wanted


def test_picks_are_ids_and_nothing_else() -> None:
    one, two = "0" * 16, "ab" * 8
    assert parse_picks(f" {one},{two}\n{one} ") == ({one, two}, 0)
    assert parse_picks("") == (frozenset(), 0)
    hostile = f"../x <img src=x> {one[:-1]} {one}0 {two.upper()} {one}"
    assert parse_picks(hostile) == ({one}, 6)  # "<img" and "src=x>" are two words
    for bad in (None, 3, ["a"], "0" * 80_000):
        with pytest.raises(InputError, match="picks"):
            parse_picks(bad)


def test_picks_are_found_behind_the_gallery_too() -> None:
    pictures = Mixed(*[(2, 2)] * 6)
    ids = [pictures.key(i)[:16] for i in range(6)]
    assert len(set(ids)) == 1  # keys here differ at their end only: equal starts are one pick
    assert find_picks(pictures, ids[0], ids[:3]).rows == [0, 1, 2]

    class Named(Mixed):
        def key(self, i: int) -> str:
            return f"{i:016x}" + "0" * 48

    pictures = Named(*[(2, 2)] * 6)
    known = [f"{i:016x}" for i in range(3)]
    found = find_picks(pictures, f"{5:016x} {1:016x} {'f' * 16} nonsense", known)
    assert found == ([1, 5], 1, 1)


def test_pictures_of_one_size_are_one_batch_untouched() -> None:
    for sizes in ("each", "block", "pad", "crop"):
        (batch,) = batches(Mixed((4, 6), (4, 6)), sizes)
        assert batch.shape == (2, 4, 6, 3)
        assert batch[0].unique().tolist() == [pytest.approx(51 / 255)]


def test_several_sizes_go_one_by_one_or_padded_or_cropped_as_chosen() -> None:
    mixed = Mixed((4, 4), (4, 8), (4, 4))
    for sizes in ("each", "block"):
        assert [tuple(batch.shape) for batch in batches(mixed, sizes)] == [(1, 4, 4, 3), (1, 4, 8, 3), (1, 4, 4, 3)]
    (padded,) = batches(mixed, "pad")  # 8 x 4 into 4 x 4: 4 x 2 in the middle, a black row above and below
    assert padded[1][:, 0, 0].tolist() == [0.0, pytest.approx(0.4), pytest.approx(0.4), 0.0]
    (cropped,) = batches(mixed, "crop")
    assert cropped[1].shape == (4, 4, 3)
    assert cropped[1].unique().tolist() == [pytest.approx(0.4)]
    with pytest.raises(InputError, match="sizes"):
        batches(mixed, "stretch")


def test_a_batch_of_files_has_a_limit_of_memory() -> None:
    with pytest.raises(InputError, match=r"2 pictures"):
        batches(Mixed((4, 4), (4, 4)), "pad", limit=12 * 4 * 4 * 2 - 1)
    assert len(batches(Mixed((4, 4), (4, 4)), "pad", limit=12 * 4 * 4 * 2)[0]) == 2
    with pytest.raises(InputError, match=r"2 pictures"):
        batches(Mixed((4, 4), (4, 8)), limit=12 * 4 * 12 - 1)


class Unread(Mixed):
    """Nobody may read these."""

    def picture(self, i: int) -> torch.Tensor:
        raise AssertionError(i)


def test_what_is_too_much_is_refused_before_anything_is_read() -> None:
    with pytest.raises(InputError, match="2 pictures"):
        batches(Unread((4, 4), (4, 8)), "pad", limit=1)
    with pytest.raises(InputError, match=r"513 pictures.*top_k|top_k.*513 pictures"):
        batches(Unread(*[(4, 4)] * 512, (4, 8)))


def test_a_picture_of_the_right_size_keeps_every_bit() -> None:
    picture = torch.rand(3, 5, 3)
    assert fitted(picture, 5, 3, "pad") is picture


class Stopped(Exception):
    pass


SAME, SEVERAL = [(4, 4)] * 3, [(4, 4), (4, 8), (4, 4)]


@pytest.mark.parametrize(("shapes", "sizes"), [(SAME, "each"), (SAME, "pad"), (SEVERAL, "each"), (SEVERAL, "pad")])
def test_reading_pictures_tells_each_and_can_be_stopped(shapes: list[tuple[int, int]], sizes: str) -> None:
    def stop(phase: str, done: int, total: int) -> None:
        if done == 2:
            raise Stopped

    progress = Recorded(stop)
    with pytest.raises(Stopped):
        batches(Mixed(*shapes), sizes, progress=progress)
    assert progress.counts == [(1, 3), (2, 3)]


@pytest.mark.parametrize(("shapes", "sizes"), [(SAME, "each"), (SAME, "pad"), (SEVERAL, "each"), (SEVERAL, "pad")])
def test_a_file_that_cannot_be_read_is_named(shapes: list[tuple[int, int]], sizes: str) -> None:
    class Gone(Mixed):
        def picture(self, i: int) -> torch.Tensor:
            if i == 1:
                raise PictureError("cannot be read (No such file or directory)")
            return super().picture(i)

    with pytest.raises(InputError, match=r"cannot be read .* Found: '1\.png'"):
        batches(Gone(*shapes), sizes)

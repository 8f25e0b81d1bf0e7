"""Preferences from tables, rankings, votes and folders: who is paired with whom, and what is left out with words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tastemaker.images.convert import to_pil
from tastemaker.loaders import InputError
from tastemaker.ranking import ScoreTable
from tastemaker.training import Preferences
from tastemaker.training.preference.preferences import Ranked, pair, ranked_group
from tastemaker.training.preference.sources import Choice, from_choices, from_folder, from_ranked, from_tables


def table(prompts: Sequence[str], seeds: Sequence[int | None], scores: Sequence[float], base: int = 0) -> ScoreTable:
    """Pictures that are told apart by their first pixel: base, base + 1, ..."""
    images = torch.zeros(len(prompts), 8, 8, 3)
    images[:, 0, 0, 0] = (base + torch.arange(len(prompts))) / 255
    return ScoreTable(images, tuple(prompts), tuple(seeds), {"taste": torch.tensor(scores)}, "taste")


def marks(found: Preferences, group: Ranked) -> list[int]:
    """The first pixels of a group's pictures, best first."""
    return [round(float(found.pictures.picture(i)[0, 0, 0]) * 255) for i in group.pictures]


# --- tables -------------------------------------------------------------------------------------


def test_two_tables_are_paired_by_prompt_and_seed_then_by_order() -> None:
    better = table(["cat", "cat", "dog", "owl"], [1, 2, None, 5], [0, 0, 0, 0])
    worse = table(["dog", "cat", "cat", "cat"], [7, 2, 9, 4], [0, 0, 0, 0], base=100)
    found = from_tables(better, worse)
    assert [(g.prompt, marks(found, g)) for g in found.groups] == [
        ("cat", [0, 102]),  # no seed 1 there: the first of that prompt that is left
        ("cat", [1, 101]),  # seed 2
        ("dog", [2, 100]),
    ]
    assert all(g.advantages == (1.0, -1.0) for g in found.groups)
    assert found.remarks == ("2 pictures left out: without a partner of its prompt.",)


def test_a_pair_of_one_picture_is_left_out_with_words() -> None:
    better, worse = table(["cat", "cat"], [1, 2], [0, 0]), table(["cat", "cat"], [1, 2], [0, 0], base=1)
    same = from_tables(better, ScoreTable(better.images, ("cat", "cat"), (2, 1), better.scores, "taste"))
    assert len(same.groups) == 2  # crossed seeds: other pictures
    with pytest.raises(InputError, match="There is no pair to learn from. 2 pairs left out: the same picture twice"):
        from_tables(better, better)
    with pytest.raises(InputError, match="No prompt has pictures in both"):
        from_tables(better, table(["dog"], [1], [0]))
    assert len(from_tables(better, worse).groups) == 2


def test_best_against_worst_within_a_prompt() -> None:
    prompts = ["cat", "dog", "cat", "cat", "dog", "cat", "owl", "fox", "fox"]
    scores = [3.0, 1.0, 9.0, 5.0, 2.0, 4.0, 1.0, 6.0, 6.0]
    found = from_ranked(table(prompts, [None] * 9, scores), pairs_per_prompt=3)
    assert [(g.prompt, marks(found, g)) for g in found.groups] == [
        ("cat", [2, 0]),
        ("cat", [3, 5]),
        ("dog", [4, 1]),
    ]
    assert found.remarks == (
        "1 pair left out: ties, with equal scores.",
        "1 picture left out: the only picture of its prompt.",
    )
    assert len(from_ranked(table(prompts, [None] * 9, scores)).groups) == 2
    with pytest.raises(InputError, match="no number"):
        from_ranked(table(["a", "a"], [1, 2], [1.0, float("nan")]))


def test_a_ranked_group_has_z_scores_of_its_best_and_worst() -> None:
    found = from_ranked(table(["cat"] * 5, [None] * 5, [1.0, 5.0, 3.0, 2.0, 4.0]), group_size=4)
    [group] = found.groups
    assert marks(found, group) == [1, 4, 3, 0]  # 5, 4, 2, 1: mean 3, standard deviation 1.581
    assert group.advantages == pytest.approx([1.26491, 0.63246, -0.63246, -1.26491], abs=1e-5)
    assert ranked_group("cat", [0, 1], [2.0, 2.0]) is None
    assert ranked_group("cat", [0, 1], [3.0, 2.0]).advantages == (1.0, -1.0)


# --- votes --------------------------------------------------------------------------------------


def test_votes_are_counted_and_the_majority_has_it() -> None:
    one, other = table(["cat", "dog", "owl"], [1, 1, 1], [0] * 3), table(["cat", "dog", "owl"], [1, 1, 1], [0] * 3, 100)
    key = [[t.pictures.key(i) for i in range(3)] for t in (one, other)]
    choices = [
        *[Choice("cat", key[0][0], key[1][0])] * 3,
        Choice("cat", key[1][0], key[0][0]),
        Choice("dog", key[1][1], key[0][1]),
        Choice("owl", key[1][2], key[0][2]),
        Choice("owl", key[0][2], key[1][2]),
        Choice("fox", "0" * 64, key[0][0]),
    ]
    found = from_choices(choices, [one, other])
    assert [(g.prompt, marks(found, g), g.weight) for g in found.groups] == [
        ("cat", [0, 100], 0.5),  # three of four
        ("dog", [101, 1], 1.0),
    ]
    assert found.remarks == ("1 pair left out: ties.", "1 pair left out: of pictures that are not connected.")
    with pytest.raises(InputError, match="1 pair left out: ties"):
        from_choices([Choice("cat", key[0][0], key[1][0], tie=True)], [one, other])


# --- folders ------------------------------------------------------------------------------------


def write(path: Path, level: int, text: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    to_pil(torch.full((8, 8, 3), level / 255)).save(path)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")


def test_a_folder_of_pairs_as_kohya_lays_it_out(tmp_path: Path) -> None:
    write(tmp_path / "w" / "a.png", 10, "a cat")
    write(tmp_path / "l" / "a.jpg", 90)  # another ending, and no caption of its own
    write(tmp_path / "w" / "b.png", 20, "a dog")
    write(tmp_path / "l" / "b.png", 80, "a wolf")
    write(tmp_path / "w" / "c.png", 30, "an owl")
    write(tmp_path / "l" / "d.png", 70, "a fox")
    write(tmp_path / "w" / "e.png", 40, "a hen")
    write(tmp_path / "l" / "e.png", 40, "a hen")
    write(tmp_path / "other" / "f.png", 50, "not ours")
    (tmp_path / "w" / "g.png").write_bytes(b"no picture")
    found = from_folder(tmp_path)
    assert [(g.prompt, marks(found, g)[0]) for g in found.groups] == [("a cat", 10)]
    assert found.remarks == (
        "2 pictures left out: without a partner of their name.",
        "1 pair left out: with two captions that differ.",
        "1 pair left out: the same picture twice.",
        "1 picture left out: that cannot be read.",
    )


def test_a_folder_without_the_two_is_refused_and_links_out_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "secret" / "a.png", 10, "a cat")
    folder = tmp_path / "pairs"
    write(folder / "w" / "a.png", 20, "a cat")
    with pytest.raises(InputError, match="sub-folders w and l"):
        from_folder(folder)
    (folder / "l").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="sub-folders w and l"):
        from_folder(folder)


# --- the value ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "group",
    [
        pair("cat", 0, 5),
        pair("cat", 0, 1, weight=0.0),
        Ranked("cat", (0, 1), (0.0, 0.0)),
        Ranked("cat", (0, 1), (1.0, 1.0)),
        Ranked("cat", (0,), (1.0,)),
        Ranked("cat", (0, 1), (float("nan"), 1.0)),
    ],
)
def test_groups_that_make_no_sense_are_refused(group: Ranked) -> None:
    pictures = table(["cat"] * 2, [1, 2], [0, 0]).pictures
    with pytest.raises(InputError, match="preferences"):
        Preferences(pictures, (group,))


def test_whole_prompts_are_held_out_and_something_is_always_left() -> None:
    many = from_ranked(table([f"p{i // 4}" for i in range(40)], [None] * 40, list(range(40))), pairs_per_prompt=2)
    known, held_out = many.split(0.2, seed=3)
    assert (len(known), len(held_out)) == (16, 4)
    assert not {g.prompt for g in known} & {g.prompt for g in held_out}
    assert many.split(0.2, seed=3) == (known, held_out)
    assert many.split(0.0, seed=3) == (many.groups, ())
    one = from_ranked(table(["p", "p"], [None] * 2, [1, 2]))
    assert one.split(0.5, seed=0) == (one.groups, ())


def test_a_fingerprint_follows_from_pictures_order_and_masks() -> None:
    pictures = table(["cat"] * 3, [1, 2, 3], [0] * 3).pictures
    variants: list[Any] = [
        Preferences(pictures, (pair("cat", 0, 1),)),
        Preferences(pictures, (pair("cat", 1, 0),)),
        Preferences(pictures, (pair("cat", 0, 2),)),
        Preferences(pictures, (pair("dog", 0, 1),)),
        Preferences(pictures, (pair("cat", 0, 1, mask=0),), torch.ones(1, 4, 4)),
    ]
    assert len({v.fingerprint for v in variants}) == len(variants)
    with pytest.raises(InputError, match="black throughout"):
        Preferences(pictures, (pair("cat", 0, 1, mask=0),), torch.zeros(1, 4, 4))


def test_masks_are_one_for_all_or_one_for_each_better_picture() -> None:
    better, worse = table(["cat", "dog"], [1, 2], [0, 0]), table(["dog", "cat"], [2, 1], [0, 0], base=100)
    assert [g.mask for g in from_tables(better, worse, torch.ones(1, 8, 8)).groups] == [0, 0]
    assert [g.mask for g in from_tables(better, worse, torch.ones(2, 8, 8)).groups] == [0, 1]
    with pytest.raises(InputError, match="one for each of the 2 pictures"):
        from_tables(better, worse, torch.ones(3, 8, 8))

"""The world, its checker, its captions and tokenizers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.embedded.checker import read
from scripts.embedded.measure import measure_checker
from scripts.embedded.tokenizers import bpe_merges, clip_vocabulary
from scripts.embedded.world import (
    COLOURS,
    SHAPES,
    TEMPLATES,
    Jitter,
    Scene,
    caption,
    combinations,
    draw,
    held_out,
    random_scene,
    vocabulary,
)


def test_the_world_is_as_large_as_promised() -> None:
    assert len(SHAPES) >= 6
    assert len(COLOURS) >= 8
    assert len(TEMPLATES) >= 6
    assert draw(Scene("star", "red", "blue", "small", "left")).shape == (64, 64, 3)


def test_pictures_depend_on_the_seed_alone() -> None:
    scene = Scene("moon", "white", "purple", "large", "top")
    one, two = (draw(scene, Jitter.random(np.random.default_rng(5))) for _ in range(2))
    assert np.array_equal(one, two)


def test_about_a_tenth_is_held_out_and_the_split_is_clean() -> None:
    kept_out = [c for c in combinations() if held_out(Scene(*c, "small", "left"))]
    assert 0.08 <= len(kept_out) / len(combinations()) <= 0.12
    assert {c[0] for c in kept_out} == set(SHAPES)
    rng = np.random.default_rng(0)
    assert all(held_out(random_scene(rng, from_held_out=True)) for _ in range(50))
    assert not any(held_out(random_scene(rng, from_held_out=False)) for _ in range(50))


def test_the_checker_is_right_on_drawn_pictures() -> None:
    figures = measure_checker(400)
    assert all(figures[field].right >= 0.99 * figures[field].total for field in figures)


@pytest.mark.parametrize("picture", [np.zeros((64, 64, 3)), np.random.default_rng(0).random((64, 64, 3))])
def test_the_checker_calls_no_shape_clean_where_there_is_none(picture: np.ndarray) -> None:
    assert not read(picture).clean


def test_captions_say_what_they_mention() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        scene = random_scene(rng, from_held_out=False)
        said = caption(scene, rng)
        assert {"shape", "colour", "background"} <= set(said.mentions)
        assert all(getattr(scene, f) in said.text for f in ("shape", "colour", "background"))


def test_every_word_of_the_world_is_one_token(tiny_sdxl) -> None:
    for tokenizer in tiny_sdxl.tokenizers:
        for word in vocabulary():
            assert len(tokenizer(word).input_ids) == 3, word


def test_any_text_can_be_tokenized(tiny_sdxl) -> None:
    for tokenizer in tiny_sdxl.tokenizers:
        for text in ("a cat!", "\U0001f600", "NUL \x00", "a  b"):
            ids = tokenizer(text).input_ids
            assert len(ids) >= 2
            assert max(ids) < len(clip_vocabulary(vocabulary())[0])


def test_merges_by_hand() -> None:
    # "ab" ends in b</w>; in "abc" the b ends nothing, so it needs a pair of its own, then ab + c</w>
    assert bpe_merges(["ab", "abc"]) == [("a", "b</w>"), ("a", "b"), ("ab", "c</w>")]


def test_assets_hold_what_the_scripts_write(tmp_path: Path) -> None:
    from scripts.embedded.tokenizers import write_bert_vocabulary
    from tastemaker.loaders import asset_folder

    write_bert_vocabulary(tmp_path, vocabulary())
    assert (tmp_path / "vocab.txt").read_text() == (asset_folder("tiny-imagereward") / "vocab.txt").read_text()

"""The world of emoji: drawn, captioned, read back; and the parts that were trained on it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.embedded import measure, sdxl, vae
from scripts.embedded.emoji import world
from scripts.embedded.emoji.checker import read
from scripts.embedded.reward import EMOJI_PLAN, Gallery
from scripts.embedded.tokenizers import clip_vocabulary
from scripts.embedded.training import draw_world
from scripts.embedded.worlds import EMOJI
from tests.conftest import ROOT

TRAINED = ROOT / "scripts" / "embedded" / "emoji" / "trained"


def test_a_few_dozen_things_in_eight_landscapes() -> None:
    assert len(world.THINGS) == 24
    assert len(world.LANDSCAPES) == 8
    assert world.draw(world.Scene("owl", "night", "large", "left")).shape == (96, 96, 3)


def test_pictures_depend_on_the_seed_alone() -> None:
    scene = world.Scene("fox", "candyland", "small", "right")
    one, two = (EMOJI.draw(scene, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, EMOJI.draw(scene, np.random.default_rng(6)))


def test_about_a_tenth_is_held_out_and_every_thing_and_landscape_is_taught() -> None:
    out, taught = world.scenes(from_held_out=True), world.scenes(from_held_out=False)
    assert 0.08 <= len(out) / (len(out) + len(taught)) <= 0.12
    assert {s.thing for s in taught} == set(world.THINGS)
    assert {s.landscape for s in taught} == set(world.LANDSCAPES)
    assert not set(out) & set(taught)
    assert set(EMOJI.taught()) == set(taught)


def test_the_checker_is_right_on_drawn_pictures() -> None:
    figures = measure.measure_checker(60, world=EMOJI)
    assert all(share.right == share.total == 60 for share in figures.values()), figures


@pytest.mark.parametrize("name", world.LANDSCAPES)
def test_the_checker_finds_no_clean_thing_in_an_empty_landscape(name: str) -> None:
    bare = np.asarray(world.draw_landscape(name, 5).resize((world.SIZE_PX, world.SIZE_PX)))
    found = read(bare)
    assert found.landscape == name
    assert not found.clean


def test_captions_say_what_they_mention() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        scene = world.random_scene(rng, from_held_out=False)
        said = world.caption(scene, rng)
        assert {"thing", "landscape"} <= set(said.mentions)
        assert scene.thing in said.text
        assert any(where in said.text for where in world.WHERE[scene.landscape])
        assert ("size" in said.mentions) == any(w in said.text.split() or w + "," in said.text for w in _sizes())


@pytest.mark.parametrize(("thing", "wanted"), [("owl", "an owl "), ("panda", "a panda ")])
def test_the_article_is_the_thing_s(thing: str, wanted: str) -> None:
    rng = np.random.default_rng(0)
    texts = {world.caption(world.Scene(thing, "night", "large", "left"), rng).text for _ in range(100)}
    assert any(text.startswith(wanted) for text in texts)
    assert not any("a owl" in text or "an panda" in text or "pandan" in text for text in texts)


def _sizes() -> list[str]:
    return [word for words in world.SIZE_WORDS.values() for word in words]


def test_every_word_is_known_to_the_tokenizer() -> None:
    tokens, _ = clip_vocabulary(world.vocabulary())
    assert all(word + "</w>" in tokens for word in world.vocabulary())


def test_pictures_of_a_reward_s_gallery_are_of_no_held_out_scene() -> None:
    gallery = Gallery.__new__(Gallery)
    gallery.world, gallery.pictures = EMOJI, dict.fromkeys(EMOJI.taught(), [])
    scene = next(s for s in EMOJI.taught() if world.held_out(dataclasses.replace(s, size=_other(s.size))))
    rng = np.random.default_rng(0)
    assert gallery.altered(scene, ["size"], rng) is None
    assert gallery.altered(scene, ["thing"], rng) in gallery.pictures


def _other(size: str) -> str:
    return next(s for s in world.SIZES if s != size)


def test_everything_said_is_right_where_every_field_is() -> None:
    scenes = [world.Scene("fox", "night", "small", "left"), world.Scene("owl", "snow", "large", "right")]
    readings = [dataclasses.replace(scenes[0], size="large"), scenes[1]]
    found = measure.agreement(EMOJI, scenes, readings, [("thing", "landscape", "size"), ("thing", "landscape")])
    assert found == {"thing": (2, 2), "landscape": (2, 2), "size": (0, 1), "everything": (1, 2)}


def test_weights_by_hand() -> None:
    # alpha 0.9: the signal is 9 times the noise, capped at 5; alpha 0.2: a quarter, not capped
    found = sdxl._weights(torch.tensor([0.9, 0.2]), 5.0)
    torch.testing.assert_close(found, torch.tensor([5 / 9, 1.0]))
    assert sdxl._weights(torch.tensor([0.9, 0.2]), None).tolist() == [1.0, 1.0]


def test_a_share_of_the_timesteps_is_drawn_from_the_noisiest() -> None:
    torch.manual_seed(0)
    late = (sdxl._timesteps(20_000, 0.3) >= 600).float().mean()
    assert abs(late - (0.3 + 0.7 * 0.4)) < 0.015
    assert (sdxl._timesteps(1000, 1.0) >= 600).all()


def test_standardising_moves_latents_and_leaves_what_is_decoded() -> None:
    torch.manual_seed(0)
    network = vae.build(vae.EMOJI_PLAN).eval()
    picture = torch.rand(2, 3, 96, 96) * 2 - 1
    with torch.no_grad():
        before = network.encode(picture).latent_dist
        shown = network.decode(before.mean).sample
        mean, std = before.mean.mean((0, 2, 3)), before.mean.std((0, 2, 3))
        vae.standardise(network, mean, std)
        after = network.encode(picture).latent_dist
        assert after.mean.mean((0, 2, 3)).abs().max() < 1e-4
        torch.testing.assert_close(after.mean.std((0, 2, 3)), torch.ones(4))
        torch.testing.assert_close(after.std, before.std / std[:, None, None])
        torch.testing.assert_close(network.decode(after.mean).sample, shown, atol=1e-4, rtol=0)


def test_the_trained_autoencoder_shows_new_pictures_as_they_are() -> None:
    from diffusers import AutoencoderKL

    network = AutoencoderKL.from_pretrained(TRAINED / "vae", variant="fp16").float()
    pictures = draw_world(EMOJI, 16, seed=77).pixels.float() / 127.5 - 1
    with torch.no_grad():
        latents = network.encode(pictures).latent_dist.mean
        rebuilt = network.decode(latents).sample.clamp(-1, 1)
    assert 10 * math.log10(4 / (rebuilt - pictures).square().mean().item()) > 34  # dB
    assert network.config.scaling_factor == 1.0
    assert 0.9 < latents.std() < 1.1


def test_the_trained_reward_prefers_the_matching_picture() -> None:
    assert EMOJI_PLAN.vit["image_size"] == world.SIZE_PX
    figures = measure.measure_reward(300, reward=_reward(TRAINED / "reward"), world=EMOJI)
    assert figures["one attribute differs"].right >= 0.97 * 300
    assert figures["unrelated"].right >= 0.99 * 300


def _reward(folder: Path) -> measure.Scores:
    """Score with a trained reward that is not among the assets."""
    from tastemaker.rewards.models.preprocess import CLIP_MEAN, CLIP_STD, normalized
    from tastemaker.rewards.models.tiny_imagereward import build

    network = build([folder / "ImageReward.safetensors"], torch.float32)

    @torch.no_grad()
    def scores(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        return network.scores(normalized(images.permute(0, 3, 1, 2), CLIP_MEAN, CLIP_STD), prompts)

    return scores

"""The graph that runs now: back from a node's pictures to the sampler, its text and its seed. By hand."""

from __future__ import annotations

from typing import Any

import pytest

from tastemaker.images.graph import made_by
from tests.promptly import promptly


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


OWN = {
    "3": node("KSampler", seed=77, model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0]),
    "4": node("CheckpointLoaderSimple", ckpt_name="any.safetensors"),
    "5": node("EmptyLatentImage", width=64, height=64, batch_size=4),
    "6": node("CLIPTextEncode", text=" a lighthouse ", clip=["4", 1]),
    "7": node("CLIPTextEncode", text="blurry", clip=["4", 1]),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("TastemakerScore", images=["8", 0], reward=["10", 0]),
    "10": node("TastemakerLoadReward", reward="tiny-imagereward"),
}
OTHER = {
    "20": node("KSampler", seed=5, positive=["21", 0], latent_image=["5", 0]),
    "21": node("CLIPTextEncode", text="a cat"),
}
OTHER["22"] = node("VAEDecode", samples=["20", 0])


def sampler(**inputs: Any) -> dict[str, Any]:
    """The KSampler, with some inputs changed."""
    return {"3": node("KSampler", **OWN["3"]["inputs"] | inputs)}


def text(value: Any) -> dict[str, Any]:
    """The positive text's node with another text."""
    return {"6": node("CLIPTextEncode", text=value, clip=["4", 1])}


def conditioned(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node between the text and the sampler."""
    return sampler(positive=["30", 0]) | {"30": node(kind, **inputs)}


def pictures(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node between the decoder and Score."""
    return {"9": node("TastemakerScore", images=["40", 0], reward=["10", 0]), "40": node(kind, **inputs)}


ADVANCED = {
    "add_noise": "enable",
    "noise_seed": 9,
    "positive": ["6", 0],
    "negative": ["7", 0],
    "latent_image": ["5", 0],
}
# name: what is changed, then prompt, seed, class of the sampler, whether the pictures are its own in order
FOUND: dict[str, tuple[dict[str, Any], str, int | None, str, bool]] = {
    "a plain graph": ({}, "a lighthouse", 77, "KSampler", True),
    "tiles": ({"8": node("VAEDecodeTiled", samples=["3", 0])}, "a lighthouse", 77, "KSampler", True),
    "enlarged": (pictures("ImageScaleBy", image=["8", 0]), "a lighthouse", 77, "KSampler", True),
    "one of the batch": (pictures("ImageFromBatch", image=["8", 0]), "a lighthouse", 77, "KSampler", False),
    "combined, the first": (
        conditioned("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["7", 0]),
        *("a lighthouse", 77, "KSampler", True),
    ),
    "concatenated, the one added to": (
        conditioned("ConditioningConcat", conditioning_to=["6", 0], conditioning_from=["7", 0]),
        *("a lighthouse", 77, "KSampler", True),
    ),
    "an area": (conditioned("ConditioningSetArea", conditioning=["6", 0]), "a lighthouse", 77, "KSampler", True),
    "FLUX's guidance": (conditioned("FluxGuidance", conditioning=["6", 0]), "a lighthouse", 77, "KSampler", True),
    "a ControlNet": (
        conditioned("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], image=["8", 0]),
        *("a lighthouse", 77, "KSampler", True),
    ),
    "two texts of SDXL": (
        {"6": node("CLIPTextEncodeSDXL", text_l="few words", text_g="many words", clip=["4", 1])},
        *("many words", 77, "KSampler", True),
    ),
    "KSamplerAdvanced": ({"3": node("KSamplerAdvanced", **ADVANCED)}, "a lighthouse", 9, "KSamplerAdvanced", True),
    "base, then refiner with its noise": (
        {
            "3": node("KSamplerAdvanced", **ADVANCED | {"add_noise": "disable", "latent_image": ["50", 0]}),
            "50": node("KSamplerAdvanced", **ADVANCED | {"noise_seed": 11}),
        },
        *("a lighthouse", 11, "KSamplerAdvanced", True),
    ),
    "SamplerCustom": (
        {"3": node("SamplerCustom", add_noise=True, noise_seed=4, positive=["6", 0], latent_image=["5", 0])},
        *("a lighthouse", 4, "SamplerCustom", True),
    ),
    "SamplerCustomAdvanced": (
        {
            "3": node("SamplerCustomAdvanced", noise=["31", 0], guider=["32", 0], latent_image=["5", 0]),
            "31": node("RandomNoise", noise_seed=12),
            "32": node("BasicGuider", conditioning=["6", 0], model=["4", 0]),
        },
        *("a lighthouse", 12, "SamplerCustomAdvanced", True),
    ),
    "two guiders' texts": (
        {
            "3": node("SamplerCustomAdvanced", noise=["31", 0], guider=["32", 0], latent_image=["5", 0]),
            "31": node("DisableNoise"),
            "32": node("DualCFGGuider", cond1=["6", 0], cond2=["7", 0], negative=["7", 0]),
        },
        *("a lighthouse", None, "SamplerCustomAdvanced", True),
    ),
    "a linked text": (
        text(["60", 0]) | {"60": node("PrimitiveStringMultiline", value="typed elsewhere")},
        *("typed elsewhere", 77, "KSampler", True),
    ),
    "joined texts": (
        text(["60", 0])
        | {
            "60": node("StringConcatenate", string_a="a red", string_b=["61", 0], delimiter=" "),
            "61": node("PrimitiveString", value="star"),
        },
        *("a red star", 77, "KSampler", True),
    ),
    "a linked seed": (
        sampler(seed=["60", 0]) | {"60": node("PrimitiveInt", value=6)},
        *("a lighthouse", 6, "KSampler", True),
    ),
    "the sampler of these pictures, not the graph's last": (
        OTHER | {"23": node("SaveImage", images=["22", 0])},
        *("a lighthouse", 77, "KSampler", True),
    ),
    "two samplers of one text": (
        OTHER
        | {"20": node("KSampler", seed=5, positive=["6", 0], latent_image=["5", 0])}
        | pictures("ImageBatch", image1=["8", 0], image2=["22", 0]),
        *("a lighthouse", None, "KSampler", False),
    ),
    "our own Sample": (
        {
            "8": node("TastemakerSample", model=["4", 0], prompts=["60", 0], seed=7),
            "60": node("TastemakerPrompts", text="# a note\na small star"),
        },
        *("a small star", None, "TastemakerSample", True),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_made_the_pictures(name: str) -> None:
    changed, prompt, seed, kind, in_order = FOUND[name]
    found = made_by(OWN | changed, "9", "images")
    assert (found.prompt, found.seed, found.why, found.sampler, found.in_order) == (prompt, seed, "", kind, in_order)


UNKNOWN: dict[str, tuple[Any, str]] = {
    "no graph": (None, "does not say"),
    "no graph but a list": ([1], "does not say"),
    "too many nodes": (OWN | {f"n{i}": node("Note") for i in range(20_000)}, "does not say"),
    "no node of ours": ({name: made for name, made in OWN.items() if name != "9"}, "does not say"),
    "pictures that are no link": (OWN | {"9": node("TastemakerScore", images=5)}, "does not say"),
    "pictures from a file": (OWN | pictures("LoadImage", image="a.png"), "no sampler"),
    "two samplers": (OWN | OTHER | pictures("ImageBatch", image1=["8", 0], image2=["22", 0]), "2 samplers"),
    "several prompts": (
        OWN | {"8": node("TastemakerSample", prompts=["60", 0]), "60": node("TastemakerPrompts", text="one\ntwo")},
        "there are several",
    ),
    "an empty text": (OWN | text("  "), "is empty"),
    "a text made nothing of": (OWN | conditioned("ConditioningZeroOut", conditioning=["6", 0]), "is empty"),
    "a text by chance": (
        OWN | text(["60", 0]) | {"60": node("Wildcards", text="a {red|blue} cat", seed=1)},
        "computed",
    ),
    "a text that a model writes": (
        OWN
        | text(["60", 0])
        | {"60": node("Describe", prompt="Describe this.", image=["61", 0]), "61": node("LoadImage")},
        "computed",
    ),
    "a circle": (OWN | conditioned("ConditioningSetArea", conditioning=["30", 0]), "computed"),
    "a circle of pictures": (OWN | pictures("ImageScale", image=["40", 0]), "no sampler"),
    "a circle of texts": (OWN | text(["60", 0]) | {"60": node("Reroute", text=["60", 0])}, "computed"),
    "a long way": (
        OWN
        | sampler(positive=["c0", 0])
        | {f"c{i}": node("ConditioningSetArea", conditioning=[f"c{i + 1}", 0]) for i in range(15_000)},
        "computed",
    ),
    "a long way of pictures": (
        OWN | pictures("X", image=["p0", 0]) | {f"p{i}": node("X", image=[f"p{i + 1}", 0]) for i in range(15_000)},
        "no sampler",
    ),
    "links of the wrong kind": (OWN | sampler(positive=[{}, 0], seed={}), "no sampler"),
    "a text of the wrong kind": (OWN | text({"a": 1}), "computed"),
    "a text too long": (OWN | text("x" * 20_000), "cannot be used"),
    "half a character": (OWN | text("\ud800"), "cannot be used"),
    "nodes of the wrong kind": ({"9": OWN["9"], "8": 7}, "does not say"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_nothing_is_guessed_and_nothing_raises(name: str) -> None:
    graph, why = UNKNOWN[name]
    with promptly(5):
        found = made_by(graph, "9", "images")
    assert found.prompt == ""
    assert why in found.why


def test_seeds_that_are_none() -> None:
    for seed in (-1, 2**64, 1.5, True, "7", ["99", 0], None):
        assert made_by(OWN | sampler(seed=seed), "9", "images").seed is None
    circle = sampler(seed=["60", 0]) | {"60": node("PrimitiveInt", value=["60", 0])}
    assert made_by(OWN | circle, "9", "images").seed is None
    noiseless = node("KSamplerAdvanced", **ADVANCED | {"add_noise": "disable", "latent_image": ["3", 0]})
    assert made_by(OWN | {"3": noiseless}, "9", "images").seed is None


def test_a_classs_long_name_is_cut() -> None:
    long = {"3": node("KSampler" + "x" * 10_000, **OWN["3"]["inputs"])}
    assert len(made_by(OWN | long, "9", "images").sampler) == 60

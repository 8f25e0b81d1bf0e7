"""How nodes are found and listed: what newer hosts let a schema say, and older ones do not know."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from comfy_api.latest import io

# the words that people type for each node, beside its name; and the shelf of its kind on the page's list of essentials
ALIASES: dict[str, tuple[str, ...]] = {
    "TastemakerLoadModel": ("load diffusion model", "checkpoint", "sdxl", "playground", "ddpm", "unconditional"),
    "TastemakerLoadLoRA": ("lora", "apply lora"),
    "TastemakerPrompts": ("prompt", "prompt list", "batch prompts", "text list"),
    "TastemakerSample": ("sampler", "generate", "ddpm", "ddim", "pndm", "unconditional", "batch of seeds", "best of n"),
    "TastemakerSampleOptions": ("refiner", "guidance rescale", "sampler settings"),
    "TastemakerSearch": (
        "best of n",
        "inference time scaling",
        "particle steering",
        "fk steering",
        "noise search",
        "search seeds",
        "reward guidance",
        "generate",
    ),
    "TastemakerSearchSettings": ("search settings", "particle steering", "fk steering", "lookahead"),
    "TastemakerToNative": ("convert model", "native model", "to comfyui model"),
    "TastemakerLoadReward": (
        "reward",
        "reward model",
        "judge",
        "aesthetic",
        "aesthetic score",
        "human preference",
        "imagereward",
        "pickscore",
        "hps",
        "hpsv2",
        "clip score",
        "laion",
    ),
    "TastemakerCombineRewards": ("weigh rewards", "reward mix", "sum of scores", "judge"),
    "TastemakerLoadImages": ("load folder", "image folder", "batch from folder", "cull", "directory"),
    "TastemakerScore": (
        "judge",
        "rate",
        "rating",
        "aesthetic",
        "human preference",
        "imagereward",
        "pickscore",
        "hps",
        "score images",
        "own graph",
        "ksampler",
    ),
    "TastemakerRank": (
        "best of",
        "best of n",
        "best of batch",
        "rank",
        "sort",
        "top k",
        "select best",
        "gallery",
        "pick",
        "cull",
        "star",
        "keep best",
        "filter by score",
    ),
    "TastemakerWhy": ("explain", "explain score", "heat map", "heatmap", "saliency", "attribution", "why"),
    "TastemakerSaveRanked": ("save best", "save images", "export", "contact sheet", "csv"),
    "TastemakerFineTune": (
        "train",
        "training",
        "trainer",
        "lora train",
        "train lora",
        "ddpo",
        "rl",
        "rlhf",
        "reinforcement",
        "reinforcement learning",
        "preference",
        "human preference",
        "grpo",
        "fine tune",
    ),
    "TastemakerFineTuneSettings": ("ddpo settings", "training settings", "train"),
    "TastemakerPreferenceTune": (
        "dpo",
        "diffusion-dpo",
        "preference",
        "preference optimization",
        "human preference",
        "train lora",
        "win lose",
        "better worse",
        "my taste",
    ),
    "TastemakerRewardCurve": ("loss graph", "training curve", "plot", "train"),
    "TastemakerCompare": ("before after", "a/b", "win rate", "side by side"),
    "TastemakerGrid": (
        "xy plot",
        "xyz plot",
        "x/y/z plot",
        "grid",
        "compare settings",
        "compare models",
        "parameter sweep",
        "matrix",
        "contact sheet",
    ),
    "TastemakerVote": ("human preference", "a/b test", "blind test", "judge", "pairwise", "survey"),
    "TastemakerVoteResult": ("win rate", "elo", "agreement", "human preference"),
    "TastemakerLearnTaste": (
        "personal taste",
        "preference learning",
        "my style",
        "personalise",
        "teach",
        "favourites",
        "human preference",
    ),
    "TastemakerPortfolio": ("portfolio", "moodboard", "my style", "style reference", "personal taste"),
    "TastemakerEvaluate": ("fid", "kid", "benchmark", "metrics", "mjhq", "coco"),
    "TastemakerFID": ("kid", "frechet", "inception", "metrics"),
    "TastemakerReport": ("evaluation report", "html report", "metrics"),
}
ESSENTIALS: dict[str, str] = {
    "TastemakerSample": "Image Generation",
    "TastemakerRank": "Image Tools",
}
# a report or a gallery that the page shows again after a reload, from nodes that are no output nodes too
INTERMEDIATE = frozenset({"TastemakerScore", "TastemakerLoadImages", "TastemakerRank", "TastemakerSearch"})

# widgets that few people change: hosts that can fold them do
FOLDED: dict[str, tuple[str, ...]] = {
    "TastemakerLoadModel": ("dtype", "prediction_type"),
    "TastemakerLoadLoRA": ("strength_text",),
    "TastemakerSample": ("eta", "denoise"),
    "TastemakerSearch": ("scheduler", "eta", "height", "width"),
    "TastemakerLoadReward": ("dtype", "file"),
    "TastemakerCombineRewards": ("group_by",),
    "TastemakerLoadImages": ("prompts_from", "without_prompt", "order", "as_batch"),
    "TastemakerScore": ("cache",),
    "TastemakerRank": ("keep", "buckets", "great_from", "ok_from", "sizes", "rank_by"),
    "TastemakerSaveRanked": ("csv", "json"),
    "TastemakerFineTune": ("steps", "learning_rate", "rank", "seed"),
    "TastemakerPreferenceTune": (
        "pairs_per_prompt",
        "group_size",
        "learning_rate",
        "rank",
        "preference_form",
        "proximal_weight",
        "beta",
        "held_out_share",
        "seed",
    ),
    "TastemakerGrid": ("negative_prompt", "scheduler", "height", "width"),
    "TastemakerVote": ("before_name", "after_name", "voter", "question", "shuffle"),
    "TastemakerLearnTaste": ("clicks_first",),
    "TastemakerEvaluate": (
        "resize",
        "negative_prompt",
        "kid_subsets",
        "kid_subset_size",
        "resamples",
        "eta",
        "height",
        "width",
        "stored",
    ),
    "TastemakerFID": ("resize", "kid_subsets", "kid_subset_size", "resamples", "seed", "stored"),
}


def schema(**given: Any) -> io.Schema:
    """Return a node's schema with its words, shelf and flags, as far as the host's `io.Schema` has such fields.

    `given` is what `io.Schema` takes.
    """
    node = given["node_id"]
    for entry in given["inputs"]:
        if entry.id in FOLDED.get(node, ()) and hasattr(entry, "advanced"):
            entry.advanced = True
    wanted = {
        "search_aliases": list(ALIASES[node]),
        "essentials_category": ESSENTIALS.get(node),
        "has_intermediate_output": node in INTERMEDIATE,
    }
    known = {spec.name for spec in fields(io.Schema)}
    return io.Schema(**given, **{name: value for name, value in wanted.items() if value and name in known})

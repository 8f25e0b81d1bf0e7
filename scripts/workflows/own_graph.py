"""The example workflow of an artist's own: core nodes as everybody has them, and ranking behind them."""

from __future__ import annotations

from typing import Any

from .builder import App, build
from .layout import Frame, Node, lay_out
from .theme import AMBER, BLUE, GREEN

NOTE = """## Rank my own graph

The nodes in the blue frames are ComfyUI's own: put yours in their place.

1. Choose your **checkpoint**, type your prompt, press **Run**.
2. **Score** takes the pictures of **VAE Decode**. Nothing goes into its **prompts**: it finds the positive text
   of the KSampler by itself, and says which it read.
3. **Rank** sorts them. Space picks, Enter shows large.
4. **Save Ranked** writes the best four.

### Into the graph you have

Copy **Load Reward**, **Score** and **Rank** over, and drag your last IMAGE to **Score**. Another node writes your
prompt? Drag its text to **prompts**.

*imagereward-v1.0* has to be downloaded once: the help page of **Load Reward** (?) says from where.
"""
POSITIVE = "a lighthouse on a cliff at dusk, warm window light, oil painting"
NEGATIVE = "blurry, text, watermark"


def rank_my_own_graph(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("CheckpointLoaderSimple", {"ckpt_name": "sd_xl_base_1.0.safetensors"})
    positive = Node("CLIPTextEncode", {"text": POSITIVE}, {"clip": (model, "CLIP")}, title="Positive prompt")
    negative = Node("CLIPTextEncode", {"text": NEGATIVE}, {"clip": (model, "CLIP")}, title="Negative prompt")
    latents = Node("EmptyLatentImage", {"width": 1024, "height": 1024, "batch_size": 8})
    wires = {"positive": (positive, "CONDITIONING"), "negative": (negative, "CONDITIONING")}
    sampler = Node(
        "KSampler",
        {"seed": 7, "steps": 25, "cfg": 6.0, "sampler_name": "euler_ancestral", "scheduler": "normal"},
        {"model": (model, "MODEL"), **wires, "latent_image": (latents, "LATENT")},
    )
    decoded = Node("VAEDecode", {}, {"samples": (sampler, "LATENT"), "vae": (model, "VAE")})
    reward = Node("TastemakerLoadReward", {"reward": "imagereward-v1.0"})
    score = Node("TastemakerScore", {}, {"images": (decoded, "IMAGE"), "reward": (reward, "reward")}, size=(290, 300))
    rank = Node("TastemakerRank", {"top_k": 4}, {"scores": (score, "scores")}, size=(500, 980))
    save = Node("TastemakerSaveRanked", {"filename_prefix": "tastemaker/own"}, {"scores": (rank, "best scores")})
    note = Node("MarkdownNote", {"text": NOTE}, size=(290, 500))
    groups = lay_out(
        [[note, model], [positive, negative, latents, reward], [sampler, decoded, score], [rank], [save]],
        [
            Frame("1  Choose", BLUE, [model]),
            Frame("2  Make: any graph of your own", BLUE, [positive, negative, latents, sampler, decoded]),
            Frame("3  Judge", GREEN, [reward, score]),
            Frame("4  Look and keep", AMBER, [rank, save]),
        ],
    )
    nodes = [note, model, positive, negative, latents, sampler, decoded, reward, score, rank, save]
    app = App(
        [
            (model, "ckpt_name", "checkpoint"),
            (positive, "text", "prompt"),
            (latents, "batch_size", "pictures"),
            (rank, "top_k", "keep the best"),
        ],
        [rank, save],
        [(rank, "ranking")],
    )
    return build("rank_my_own_graph", nodes, groups, info, app)

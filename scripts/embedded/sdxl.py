"""Train tiny-sdxl and tiny-emoji: the classes of an SDXL pipeline at small size, taught a captioned world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from . import vae as vae_training
from .tokenizers import END, START, clip_vocabulary, write_clip_tokenizer
from .training import Learner, Pictures, autocast, batches, matrices, my_part, plain_attention

WORDINGS = 4  # captions drawn for each picture
BLURRED = 1200  # extra pictures shown enlarged from fewer pixels, so that original_size means something
NO_TEXT = 0.10  # share of rows without a caption: half all-zero embeddings, half the empty prompt


@dataclass(frozen=True)
class Plan:
    """What is trained, and how. `sample_size` is the side of the latents; a level that reads text has heads."""

    name: str
    sample_size: int
    block_out_channels: tuple[int, ...]
    heads: tuple[int, ...]
    layers_per_block: int
    steps: int
    batch: int = 32
    learning_rate: float = 1e-3
    by_matrix: bool = False  # Muon for what is a matrix or a convolution, AdamW for the rest
    noisiest: float = 0.0  # share of the timesteps drawn from 600 to 999
    snr_limit: float | None = None  # min-SNR weights (Hang et al. 2023, eq. 7, arXiv 2303.09556); None: all alike


SHAPES_PLAN = Plan("tiny-sdxl", 16, (64, 128), (2, 4), 2, steps=3800)
EMOJI_PLAN = Plan(
    *("tiny-emoji", 24, (64, 128, 128), (2, 4, 4), 1),
    steps=4200,
    learning_rate=2e-3,
    by_matrix=True,
    noisiest=0.3,
    snr_limit=5.0,
)

SCHEDULER = {  # playground-v2-1024px-aesthetic's
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}


class TextAndUNet(nn.Module):
    """Everything trained together, so that one average and one optimizer cover it."""

    def __init__(self, plan: Plan, words: Sequence[str]) -> None:
        super().__init__()
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        self.text_encoder = CLIPTextModel(_text_config(words, 64, heads=4))
        self.text_encoder_2 = CLIPTextModelWithProjection(_text_config(words, 96, heads=6))
        reading = len(plan.heads) - 1  # the level with the most pixels reads no text, as SDXL's
        self.unet = UNet2DConditionModel(
            sample_size=plan.sample_size,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * reading),
            up_block_types=(*("CrossAttnUpBlock2D",) * reading, "UpBlock2D"),
            block_out_channels=plan.block_out_channels,
            layers_per_block=plan.layers_per_block,
            cross_attention_dim=160,
            transformer_layers_per_block=(1,) * len(plan.heads),
            attention_head_dim=plan.heads,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=32,
            projection_class_embeddings_input_dim=6 * 32 + 96,
            norm_num_groups=16,
        )
        plain_attention(self.unet)

    def encode(self, ids: torch.Tensor, ids_2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids (B, 77) twice to context (B, 77, 160) and pooled (B, 96), as SDXL does."""
        first = self.text_encoder(ids, output_hidden_states=True)
        second = self.text_encoder_2(ids_2, output_hidden_states=True)
        context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return context, second.text_embeds


def _text_config(words: Sequence[str], width: int, heads: int):
    from transformers import CLIPTextConfig

    vocab, _ = clip_vocabulary(words)
    return CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=heads,
        max_position_embeddings=77,
        projection_dim=96,
        hidden_act="quick_gelu" if width == 64 else "gelu",
        attn_implementation="eager",
        bos_token_id=vocab[START],
        eos_token_id=vocab[END],
        pad_token_id=vocab[END] if width == 64 else vocab["!"],
    )


@dataclass
class Lessons:
    """Scaled latents (N, 4, h, w), time ids (N, 6), and `WORDINGS` rows of token ids each."""

    latents: torch.Tensor
    time_ids: torch.Tensor
    ids: torch.Tensor  # (N * WORDINGS, 77)
    ids_2: torch.Tensor
    empty: tuple[torch.Tensor, torch.Tensor]


def _blur(pixels: torch.Tensor, size: int) -> torch.Tensor:
    small = F.interpolate(pixels.float(), size=(size, size), mode="bilinear", antialias=True)
    large = F.interpolate(small, size=pixels.shape[-2:], mode="bicubic")
    return large.round().clamp(0, 255).to(torch.uint8)


def prepare(pictures: Pictures, vae, tokenizers, caption: Callable, *, seed: int, device: str) -> Lessons:
    """Encode every picture once, and a few enlarged ones; tokenize several captions of each."""
    rng = np.random.default_rng(seed)
    full = pictures.pixels.shape[-1]
    pixels, sizes = [pictures.pixels], [full] * len(pictures.scenes)
    chosen = rng.permutation(len(pictures.scenes))[:BLURRED]
    for part, size in zip(np.array_split(chosen, 3), (full // 4, full * 3 // 8, full // 2), strict=True):
        pixels.append(_blur(pictures.pixels[torch.from_numpy(part)], size))
        sizes += [size] * len(part)
    latents = vae_training.encode(vae, torch.cat(pixels), device=device) * vae.config.scaling_factor
    time_ids = torch.tensor([[s, s, 0, 0, full, full] for s in sizes], dtype=torch.float32)
    scenes = [*pictures.scenes, *(pictures.scenes[i] for i in chosen)]
    texts = [caption(scene, rng).text for scene in scenes for _ in range(WORDINGS)]
    ids, ids_2 = (_tokenize(t, texts) for t in tokenizers)
    empty = tuple(_tokenize(t, [""]) for t in tokenizers)
    return Lessons(latents, time_ids, ids, ids_2, empty)


def _tokenize(tokenizer, texts: list[str]) -> torch.Tensor:
    options = {"padding": "max_length", "truncation": True, "max_length": 77}
    return tokenizer(texts, return_tensors="pt", **options).input_ids.to(torch.int32)


def _timesteps(count: int, noisiest: float) -> torch.Tensor:
    """Timesteps (B,), uniform over all but for a share from the last 400."""
    timesteps = torch.randint(0, 1000, (count,))
    if not noisiest:
        return timesteps
    return torch.where(torch.rand(count) < noisiest, torch.randint(600, 1000, (count,)), timesteps)


def _weights(alphas: torch.Tensor, limit: float | None) -> torch.Tensor:
    """Weights of the noise's squared error (B,), from alphas_cumprod (B,)."""
    if limit is None:
        return torch.ones_like(alphas)
    snr = alphas / (1 - alphas)
    return snr.clamp(max=limit) / snr


def train(lessons: Lessons, plan: Plan, words: Sequence[str], *, seed: int, device: str) -> TextAndUNet:
    """Return the averaged encoders and UNet, taught to predict the noise given the caption."""
    from diffusers import DDPMScheduler

    torch.manual_seed(seed)
    model, noise_schedule = TextAndUNet(plan, words).to(device), DDPMScheduler(**SCHEDULER)
    by_matrix = matrices(model) if plan.by_matrix else []
    learner = Learner(plan.name, model, lr=plan.learning_rate, steps=plan.steps, by_matrix=by_matrix)
    if dist.is_initialized():
        torch.manual_seed(seed + dist.get_rank())  # the same network, each process its own noise
    for batch in batches(len(lessons.latents), plan.batch, plan.steps, seed):
        index = my_part(batch)
        clean = lessons.latents[index].to(device)
        wording = index * WORDINGS + torch.randint(0, WORDINGS, index.shape)
        ids, ids_2 = lessons.ids[wording].long(), lessons.ids_2[wording].long()
        lot = torch.rand(len(index))
        blank = (lot < NO_TEXT / 2)[:, None]
        ids = torch.where(blank, lessons.empty[0].long(), ids).to(device)
        ids_2 = torch.where(blank, lessons.empty[1].long(), ids_2).to(device)
        text = ((lot < NO_TEXT / 2) | (lot >= NO_TEXT)).float().to(device)

        noise = torch.randn_like(clean)
        timesteps = _timesteps(len(clean), plan.noisiest).to(device)
        noisy = noise_schedule.add_noise(clean, noise, timesteps)
        with autocast(device):
            context, pooled = model.encode(ids, ids_2)
            added = {"text_embeds": pooled * text[:, None], "time_ids": lessons.time_ids[index].to(device)}
            context = context * text[:, None, None]
            predicted = model.unet(noisy, timesteps, context, added_cond_kwargs=added).sample
        weights = _weights(noise_schedule.alphas_cumprod.to(device)[timesteps], plan.snr_limit)
        loss = ((predicted.float() - noise).square().mean((1, 2, 3)) * weights).mean()
        learner(loss)
    return learner.average


def tokenizers(folder: Path, words: Sequence[str]):
    """Write both tokenizers of a world's words under `folder` and load them with transformers."""
    from transformers import CLIPTokenizer

    write_clip_tokenizer(folder / "tokenizer", words, pad_token=END)
    write_clip_tokenizer(folder / "tokenizer_2", words, pad_token="!")
    names = ("tokenizer", "tokenizer_2")
    return tuple(CLIPTokenizer.from_pretrained(folder / n, local_files_only=True) for n in names)

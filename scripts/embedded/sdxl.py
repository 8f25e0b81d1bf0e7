"""Train tiny-sdxl: the classes of an SDXL pipeline at small size, taught the captioned world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import vae as vae_training
from .tokenizers import END, START, clip_vocabulary, write_clip_tokenizer
from .training import Learner, Pictures, autocast, batches
from .world import SIZE_PX, caption

STEPS, BATCH, LEARNING_RATE = 3800, 32, 1e-3
WORDINGS = 4  # captions drawn for each picture
BLURRED = 1200  # extra pictures shown enlarged from fewer pixels, so that original_size means something
NO_TEXT = 0.10  # share of rows without a caption: half all-zero embeddings, half the empty prompt

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

    def __init__(self) -> None:
        super().__init__()
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        self.text_encoder = CLIPTextModel(_text_config(64, heads=4))
        self.text_encoder_2 = CLIPTextModelWithProjection(_text_config(96, heads=6))
        self.unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(64, 128),
            layers_per_block=2,
            cross_attention_dim=160,
            transformer_layers_per_block=(1, 1),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=32,
            projection_class_embeddings_input_dim=6 * 32 + 96,
            norm_num_groups=16,
        )

    def encode(self, ids: torch.Tensor, ids_2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids (B, 77) twice to context (B, 77, 160) and pooled (B, 96), as SDXL does."""
        first = self.text_encoder(ids, output_hidden_states=True)
        second = self.text_encoder_2(ids_2, output_hidden_states=True)
        context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return context, second.text_embeds


def _text_config(width: int, heads: int):
    from transformers import CLIPTextConfig

    vocab, _ = clip_vocabulary()
    return CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=heads,
        max_position_embeddings=77,
        projection_dim=96,
        hidden_act="quick_gelu" if width == 64 else "gelu",
        bos_token_id=vocab[START],
        eos_token_id=vocab[END],
        pad_token_id=vocab[END] if width == 64 else vocab["!"],
    )


@dataclass
class Lessons:
    """Scaled latents (N, 4, 16, 16), time ids (N, 6), and `WORDINGS` rows of token ids each."""

    latents: torch.Tensor
    time_ids: torch.Tensor
    ids: torch.Tensor  # (N * WORDINGS, 77)
    ids_2: torch.Tensor
    empty: tuple[torch.Tensor, torch.Tensor]


def _blur(pixels: torch.Tensor, size: int) -> torch.Tensor:
    small = F.interpolate(pixels.float(), size=(size, size), mode="bilinear", antialias=True)
    large = F.interpolate(small, size=(SIZE_PX, SIZE_PX), mode="bicubic")
    return large.round().clamp(0, 255).to(torch.uint8)


def prepare(pictures: Pictures, vae, tokenizers, *, seed: int, device: str) -> Lessons:
    """Encode every picture once, and a few enlarged ones; tokenize several captions of each."""
    rng = np.random.default_rng(seed)
    pixels, sizes = [pictures.pixels], [SIZE_PX] * len(pictures.scenes)
    chosen = rng.permutation(len(pictures.scenes))[:BLURRED]
    for part, size in zip(np.array_split(chosen, 3), (16, 24, 32), strict=True):
        pixels.append(_blur(pictures.pixels[torch.from_numpy(part)], size))
        sizes += [size] * len(part)
    latents = vae_training.encode(vae, torch.cat(pixels), device=device) * vae.config.scaling_factor
    time_ids = torch.tensor([[s, s, 0, 0, SIZE_PX, SIZE_PX] for s in sizes], dtype=torch.float32)
    scenes = [*pictures.scenes, *(pictures.scenes[i] for i in chosen)]
    texts = [caption(scene, rng).text for scene in scenes for _ in range(WORDINGS)]
    ids, ids_2 = (_tokenize(t, texts) for t in tokenizers)
    empty = tuple(_tokenize(t, [""]) for t in tokenizers)
    return Lessons(latents, time_ids, ids, ids_2, empty)


def _tokenize(tokenizer, texts: list[str]) -> torch.Tensor:
    options = {"padding": "max_length", "truncation": True, "max_length": 77}
    return tokenizer(texts, return_tensors="pt", **options).input_ids.to(torch.int32)


def train(lessons: Lessons, *, seed: int, device: str, steps: int = STEPS) -> TextAndUNet:
    """Return the averaged encoders and UNet, taught to predict the noise given the caption."""
    from diffusers import DDPMScheduler

    torch.manual_seed(seed)
    model, noise_schedule = TextAndUNet().to(device), DDPMScheduler(**SCHEDULER)
    learner = Learner("sdxl", model, lr=LEARNING_RATE, steps=steps)
    for index in batches(len(lessons.latents), BATCH, steps, seed):
        clean = lessons.latents[index].to(device)
        wording = index * WORDINGS + torch.randint(0, WORDINGS, index.shape)
        ids, ids_2 = lessons.ids[wording].long(), lessons.ids_2[wording].long()
        lot = torch.rand(len(index))
        blank = (lot < NO_TEXT / 2)[:, None]
        ids = torch.where(blank, lessons.empty[0].long(), ids).to(device)
        ids_2 = torch.where(blank, lessons.empty[1].long(), ids_2).to(device)
        text = ((lot < NO_TEXT / 2) | (lot >= NO_TEXT)).float().to(device)

        noise = torch.randn_like(clean)
        timesteps = torch.randint(0, 1000, (len(clean),), device=device)
        noisy = noise_schedule.add_noise(clean, noise, timesteps)
        with autocast(device):
            context, pooled = model.encode(ids, ids_2)
            added = {"text_embeds": pooled * text[:, None], "time_ids": lessons.time_ids[index].to(device)}
            context = context * text[:, None, None]
            predicted = model.unet(noisy, timesteps, context, added_cond_kwargs=added).sample
        loss = F.mse_loss(predicted.float(), noise)
        learner(loss)
    return learner.average


def tokenizers(folder: Path):
    """Write both tokenizers under `folder` and load them with transformers."""
    from transformers import CLIPTokenizer

    write_clip_tokenizer(folder / "tokenizer", pad_token=END)
    write_clip_tokenizer(folder / "tokenizer_2", pad_token="!")
    names = ("tokenizer", "tokenizer_2")
    return tuple(CLIPTokenizer.from_pretrained(folder / n, local_files_only=True) for n in names)

"""What is written by hand under `rewards/` and `images/`, against the libraries: writes a table to `RESULTS.md`.

    python -m benchmarks.pixels [--print]

Resizing to a reward's 224 pixels on this machine's device, and the text in a PNG of 512 x 512 pixels.
"""

from __future__ import annotations

import argparse
import io
import json

import numpy as np
import torch
import torchvision.transforms.v2.functional as TF
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tastemaker.images.convert import to_pil
from tastemaker.images.decode import shown_size
from tastemaker.images.png import read_png, with_text
from tastemaker.rewards.models.preprocess import pillow_crop, resized_crop

from .common import machine, medians, write_section

COUNT, SIZES, RUNS = 8, (512, 768, 1024), 5


def _images(side: int) -> torch.Tensor:
    """Smooth colours with noise over them, 8-bit levels: (COUNT, side, side, 3) in [0, 1]."""
    generator = torch.Generator().manual_seed(side)
    coarse = torch.rand(COUNT, 3, 16, 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    noisy = 0.8 * smooth + 0.2 * torch.rand(smooth.shape, generator=generator)
    return noisy.mul(255).round().div(255).permute(0, 2, 3, 1).contiguous()


def _resizing(side: int, device: str) -> str:
    images = _images(side)
    there = images.to(device)
    levels = there.mul(255).round().to(torch.uint8).permute(0, 3, 1, 2).contiguous()

    def pillow() -> torch.Tensor:
        arrays = [np.asarray(resized_crop(to_pil(image), 224)) for image in there]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)

    works = {
        "Pillow": pillow,
        "ours": lambda: pillow_crop(there, 224),
        "torchvision": lambda: TF.resize(levels, [224], TF.InterpolationMode.BICUBIC, antialias=True),
    }
    seconds = medians(works, RUNS)
    wanted = pillow().short()
    apart = {name: (work().cpu().short() - wanted).abs() for name, work in works.items()}
    shares = {name: 100 * float((levels > 0).float().mean()) for name, levels in apart.items()}
    cells = [f"{1000 * seconds[name] / COUNT:.2f} ms, {shares[name]:.2g}%, {int(apart[name].max())}" for name in works]
    return f"| {side} x {side} | " + " | ".join(cells) + " |"


def _png() -> list[str]:
    info = PngInfo()
    info.add_text(
        "prompt", json.dumps({str(i): {"class_type": "Node", "inputs": {"text": "a" * 200}} for i in range(80)})
    )
    data = io.BytesIO()
    to_pil(_images(512)[0]).save(data, "PNG", pnginfo=info, compress_level=4)

    def ours() -> str:
        return read_png(data, ("prompt",)).texts["prompt"]

    def pillow() -> str:
        data.seek(0)
        with Image.open(data) as picture:
            shown_size(picture)  # the orientation may stand behind the pixels: Pillow decodes them to look
            return picture.text["prompt"]

    def saved_again() -> bytes:
        data.seek(0)
        again, kept = io.BytesIO(), PngInfo()
        with Image.open(data) as picture:
            kept.add_text("prompt", picture.info["prompt"])
            kept.add_text("tastemaker", "{}")
            picture.save(again, "PNG", pnginfo=kept, compress_level=4)
        return again.getvalue()

    assert ours() == pillow()
    reading = medians({"ours": ours, "Pillow": pillow}, 200)
    writing = medians({"ours": lambda: with_text(data, "tastemaker", "{}"), "Pillow": saved_again}, RUNS)
    return [
        f"| {what} | {1e6 * seconds['Pillow']:,.0f} us | {1e6 * seconds['ours']:,.0f} us |"
        for what, seconds in (("read size, orientation and prompt", reading), ("put a text in", writing))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    text = "\n".join(
        [
            f"{machine()} On {device}; {COUNT} images at once to 224 pixels, bicubic: time an image, share of values "
            "that differ from Pillow's, by how many of 255 levels at most.",
            "",
            "| size | Pillow | ours (`pillow_crop`) | torchvision, antialiased |",
            "|---|---|---|---|",
            *(_resizing(side, device) for side in SIZES),
            "",
            "| a PNG with a ComfyUI graph in it | Pillow | ours (`png.py`) |",
            "|---|---|---|",
            *_png(),
        ]
    )
    print(text) if parser.parse_args().print else write_section("Resizing and PNG texts", text)


if __name__ == "__main__":
    main()

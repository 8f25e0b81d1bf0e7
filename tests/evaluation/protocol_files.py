"""Made-up folders of the real layouts: MJHQ-30K, MS-COCO 2014, PartiPrompts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tastemaker.evaluation.protocols import MJHQ_CATEGORIES


def picture(seed: int, side: int = 32) -> Image.Image:
    """A smooth picture that differs from seed to seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def mjhq(root: Path, each: int = 3) -> Path:
    """meta_data.json, and mjhq30k_imgs/<category>/<id>.jpg."""
    meta = {}
    for c, category in enumerate(MJHQ_CATEGORIES):
        folder = root / "mjhq30k_imgs" / category
        folder.mkdir(parents=True)
        for i in range(each):
            name = f"{c:02d}{i:038x}"
            meta[name] = {"category": category, "prompt": f"a red circle, {category} {i}"}
            picture(100 * c + i).save(folder / f"{name}.jpg", quality=95)
    (root / "meta_data.json").write_text(json.dumps(meta))
    return root


def coco(root: Path, count: int = 6) -> Path:
    """annotations/captions_val2014.json with five captions a picture, and val2014/."""
    (root / "val2014").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, captions = [], []
    for i in range(count):
        name = f"COCO_val2014_{1000 + i:012d}.jpg"
        images.append({"id": 1000 + i, "file_name": name, "height": 480, "width": 640})
        captions += [{"image_id": 1000 + i, "id": 5 * i + k, "caption": f"A blue star {i} {k}\n"} for k in range(5)]
        picture(i).save(root / "val2014" / name, quality=95)
    text = json.dumps({"info": {}, "images": images, "licenses": [], "annotations": captions})
    (root / "annotations" / "captions_val2014.json").write_text(text)
    return root


def parti(root: Path) -> Path:
    lines = ["Prompt\tCategory\tChallenge\tNote", "a bowl\tArtifacts\tBasic\t", 'the word "START"\tAbstract\tBasic\tx']
    (root / "PartiPrompts.tsv").write_text("\n".join(lines) + "\n")
    return root

"""More like mine: a taste of somebody's own pictures, and no click. Each of them counts as picked among a model's.

The trap is that files tell the two apart before taste does: size, encoding, borders (GAN-RM, arXiv 2506.13846, meets it
too). So all pictures are made alike first. Legend: B pictures of one's own, C of the model's, D features.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ..core.errors import InputError
from ..core.progress import Progress
from ..images.convert import from_pil
from ..images.pictures import Pictures
from ..rewards import Reward
from .clicks import Click
from .taste import Taste, learn, with_clicks

LEAST, MOST = 4, 1000  # pictures of one's own
_SIDE, _QUALITY, _SHRINK = 256, 60, 0.5
_FLAT = 6  # levels of 255: a border differs by less from its corner
_OTHERS = 5


def equalised(picture: Image.Image) -> Image.Image:
    """Return a picture without what its file would tell: borders, size, encoding. RGB, 256 x 256."""
    rgb = np.asarray(picture.convert("RGB"), dtype=np.int16)
    differs = np.abs(rgb - rgb[0, 0]).max(2) > _FLAT
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    # a border on all sides goes; plain ground around a subject would go too, so at most an eighth of each side
    height, width = differs.shape
    if len(rows) and len(columns):
        top, bottom = min(rows[0], height // 8), max(rows[-1] + 1, height - height // 8)
        left, right = min(columns[0], width // 8), max(columns[-1] + 1, width - width // 8)
        rgb = rgb[top:bottom, left:right]
    made = Image.fromarray(rgb.astype(np.uint8))
    side = min(made.size)
    left, top = (made.width - side) // 2, (made.height - side) // 2
    made = made.crop((left, top, left + side, top + side))
    small = max(8, int(min(side, _SIDE) * _SHRINK))  # finer detail than this is what encoders change
    made = made.resize((small, small), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    made.save(data, "JPEG", quality=_QUALITY)
    return Image.open(data).convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


def learn_portfolio(
    mine: Pictures,
    others: Pictures,
    reward: Reward,
    *,
    name: str = "portfolio",
    progress: Progress | None = None,
) -> tuple[Taste, float]:
    """Learn a taste of one's own pictures against a model's.

    Returns:
        the taste, and its held-out AUC: how often a picture of one's own scores above one of the model's, when
        neither was learned of.

    Raises InputError for fewer than 4 pictures on either side.
    """
    for which, given in (("mine", mine), ("others", others)):
        if len(given) < LEAST:
            raise InputError(which, len(given), f"Give at least {LEAST} pictures; 30 to 300 work well.")
    chosen = [(mine, i) for i in _spread(len(mine))] + [(others, i) for i in _spread(len(others))]
    progress = progress or Progress()
    progress.phase("making pictures alike", len(chosen))
    made = []
    for pictures, i in chosen:
        made.append(from_pil(equalised(pictures.decode(i, at_least=2 * _SIDE))))
        progress.advance()
    batch = torch.cat([one if one.ndim == 4 else one[None] for one in made])
    count = min(len(mine), MOST)
    ids = [f"{i:016x}" for i in range(len(batch))]
    # the crowd's scores are left out: which prompt a picture of one's own has, nobody knows
    empty, features = learn([], batch, reward, ids=ids, name=name, crowd=False)
    rng = np.random.default_rng(0)
    own, theirs = rng.permutation(count), count + rng.permutation(len(batch) - count)
    aucs = []
    for fold in (0, 1):
        trained = _taught(empty, own[fold::2], theirs[fold::2], ids, features)
        found = features.double().numpy() @ trained.posterior.mean
        aucs.append(area(found[own[1 - fold :: 2]], found[theirs[1 - fold :: 2]]))
    return _taught(empty, own, theirs, ids, features), float(np.mean(aucs))


def _spread(count: int) -> Sequence[int]:
    """Return at most `MOST` rows of `count`, spread evenly."""
    return range(count) if count <= MOST else [i * count // MOST for i in range(MOST)]


def _taught(empty: Taste, own: np.ndarray, theirs: np.ndarray, ids: list[str], features: torch.Tensor) -> Taste:
    """Return the taste under which each picture of `own` is picked among some of `theirs`."""
    clicks = []
    for at, one in enumerate(own):
        rows = [int(theirs[(at * _OTHERS + k) % len(theirs)]) for k in range(min(_OTHERS, len(theirs)))]
        clicks.append(Click((ids[one], *(ids[row] for row in rows)), ids[one], "liked", at))
    return with_clicks(empty, clicks, ids, features)


def area(own: np.ndarray, others: np.ndarray) -> float:
    """Compute the area under the ROC curve: the share of pairs in which `own` is above, ties half. (B,), (C,)."""
    difference = own[:, None] - others[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())

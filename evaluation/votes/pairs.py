"""Two score tables to pairs, and a pair's two pictures to files that tell nothing but what is painted on them."""

from __future__ import annotations

import io
import math
from typing import NamedTuple

from PIL import Image

from ...core.errors import InputError
from ...core.texts import check_prompts
from ...images.convert import to_pil
from ...images.decode import PictureError
from ...images.pictures import Pictures
from ...ranking.comparison import paired
from ...ranking.table import ScoreTable
from .votes import Pair

MAX_SIDE = 1536  # of a picture as shown
EXACT_SIDE = 768  # up to here every pixel as it is; above, a JPEG that nobody can tell from it
_QUALITY = 95
_SAME_SHAPE = 0.01  # how far two shapes may differ, for rounding


class PairedTables(NamedTuple):
    """Pairs, and the tables of the first and the second model, row for row. `repeated` pairs were there twice."""

    pairs: list[Pair]
    first: ScoreTable
    second: ScoreTable
    repeated: int


class BlindPair(NamedTuple):
    """Two files of one format, one picture size and one length: first's and second's."""

    first: bytes
    second: bytes
    extension: str


def pair_up(before: ScoreTable, after: ScoreTable, before_name: str, after_name: str) -> PairedTables:
    """Pair pictures of one prompt and seed; the first model is the one whose name comes first, whichever its wire.

    Raises InputError for tables that are no pairs, equal names, prompts that are no text, scores that are no
    numbers, and pictures that cannot be read.
    """
    if before_name.casefold() == after_name.casefold():
        raise InputError("after_name", after_name, "The two models need different names.")
    if not len(before):
        raise InputError("before", "no pictures", "There is nothing to vote on.")
    check_prompts(before.prompts)
    before, after = paired(before, after)
    swapped = after_name < before_name
    first, second = (after, before) if swapped else (before, after)
    names = (after_name, before_name) if swapped else (before_name, after_name)
    found: dict[str, tuple[int, Pair]] = {}
    for i, (prompt, seed) in enumerate(zip(before.prompts, before.seeds, strict=True)):
        keys = (_key(first.pictures, i, prompt), _key(second.pictures, i, prompt))
        pair = Pair(prompt, seed, names, keys, _scores(first, second, i))
        found.setdefault(pair.key, (i, pair))
    rows = [i for i, _ in found.values()]
    repeated = len(before) - len(rows)
    if repeated:
        first, second = first.rows(rows), second.rows(rows)
    return PairedTables([pair for _, pair in found.values()], first, second, repeated)


def _key(pictures: Pictures, i: int, prompt: str) -> str:
    try:
        return pictures.key(i)
    except PictureError as e:
        raise InputError("pictures", pictures.name(i) or prompt, f"A picture {e}.") from e


def _scores(first: ScoreTable, second: ScoreTable, i: int) -> dict[str, tuple[float, float]]:
    both = {n: (float(first.scores[n][i]), float(second.scores[n][i])) for n in first.scores if n in second.scores}
    for name, values in both.items():
        if not all(map(math.isfinite, values)):
            raise InputError("scores", values, f"{name} gave something that is no number.")
    return both


def blind(first: ScoreTable, second: ScoreTable, i: int) -> BlindPair:
    """Encode row `i` of both tables as files that differ in nothing but their pixels.

    Both are encoded anew, alike and without metadata. The larger one is made as small as the other, and the
    shorter file is filled up with zeros behind its end, which no viewer reads: neither size tells a model.
    Raises InputError where the two have different shapes, which would.
    """
    try:
        pictures = [to_pil(table.pictures.picture(i)) for table in (first, second)]
    except PictureError as e:
        raise InputError("pictures", first.prompts[i], f"A picture {e}.") from e
    shapes = [picture.width / picture.height for picture in pictures]
    if abs(math.log(shapes[0] / shapes[1])) > _SAME_SHAPE:
        sizes = " and ".join(f"{picture.width} x {picture.height}" for picture in pictures)
        raise InputError("after", sizes, "The shape would tell the two models apart; give both the same width/height.")
    size = min((picture.size for picture in pictures), key=lambda size: size[0] * size[1])
    shrink = min(1.0, MAX_SIDE / max(size))
    size = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
    extension = "png" if max(size) <= EXACT_SIDE else "jpg"
    one, other = (_encode(picture, size, extension) for picture in pictures)
    longest = max(len(one), len(other))
    return BlindPair(one.ljust(longest, b"\0"), other.ljust(longest, b"\0"), extension)


def _encode(picture: Image.Image, size: tuple[int, int], extension: str) -> bytes:
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    data = io.BytesIO()
    if extension == "png":
        picture.save(data, "PNG", compress_level=1)
    else:
        picture.save(data, "JPEG", quality=_QUALITY, subsampling=0)
    return data.getvalue()

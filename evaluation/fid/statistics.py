"""Mean and covariance of features, streamed in flat memory, merged exactly, stored with what they are of.

Legend: N pictures, D features. Everything is float64.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...core.errors import InputError, ModelFileError
from ...core.files import write_atomic

FORMAT = "tastemaker-features-1"
_CHUNK = 256  # rows added at once, however they come: so that the sum does not depend on batch sizes


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """What FID needs of N pictures.

    Attributes:
        count: N.
        mean: (D,) of the features.
        scatter: (D, D), the sum of (x - mean)(x - mean)^T; the covariance is this over N - 1.
        about: what they were made of: `extractor`, `fingerprint`, `resize`, and what the maker adds.
    """

    count: int
    mean: torch.Tensor
    scatter: torch.Tensor
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def covariance(self) -> torch.Tensor:
        """(D, D), unbiased. Raises InputError for fewer than two pictures."""
        if self.count < 2:
            raise InputError(
                "pictures", self.count, "A set of pictures needs at least two; FID compares their covariances."
            )
        return self.scatter / (self.count - 1)

    def merge(self, other: FeatureStatistics) -> FeatureStatistics:
        """Return the statistics of both sets together (Chan, Golub & LeVeque 1979). `about` stays this one's."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = torch.outer(apart, apart) * (self.count * other.count / count)
        return FeatureStatistics(count, mean, self.scatter + other.scatter + between, self.about)


def statistics_of(batches: Iterable[torch.Tensor], about: Mapping[str, Any] | None = None) -> FeatureStatistics:
    """Compute statistics of features that come in batches (B, D) of any size; the same bits whatever their sizes.

    Raises InputError where there is no row at all, or one holds NaN or infinity.
    """
    total: FeatureStatistics | None = None
    waiting: list[torch.Tensor] = []
    rows = 0

    def add(chunk: torch.Tensor) -> None:
        nonlocal total
        part = _of_chunk(chunk, about or {})
        total = part if total is None else total.merge(part)

    for batch in batches:
        waiting.append(batch)
        rows += len(batch)
        if rows >= _CHUNK:
            joined = torch.cat(waiting)
            whole = rows // _CHUNK * _CHUNK
            for first in range(0, whole, _CHUNK):
                add(joined[first : first + _CHUNK])
            waiting, rows = [joined[whole:]], rows - whole
    if rows:
        add(torch.cat(waiting))
    if total is None:
        raise InputError("pictures", 0, "There is no picture to compute statistics of.")
    return total


def _of_chunk(chunk: torch.Tensor, about: Mapping[str, Any]) -> FeatureStatistics:
    rows = chunk.double()
    if not torch.isfinite(rows).all():
        raise InputError("features", "NaN or infinity", "The network's features are no numbers; load it in float32.")
    mean = rows.mean(0)
    centred = rows - mean
    return FeatureStatistics(len(rows), mean, centred.T @ centred, about)


def save_statistics(path: Path, statistics: FeatureStatistics) -> None:
    """Write a safetensors file with what the statistics are of in its header, whole or not at all. Raises OSError."""
    write_atomic(path, statistics_file(statistics))


def statistics_file(statistics: FeatureStatistics) -> bytes:
    """Return the file that `load_statistics` reads."""
    from safetensors.torch import save

    tensors = {"mean": statistics.mean.contiguous(), "scatter": statistics.scatter.contiguous()}
    about = json.dumps({"count": statistics.count, **statistics.about}, allow_nan=False)
    return save(tensors, {"format": FORMAT, "about": about})


def load_statistics(path: Path) -> FeatureStatistics:
    """Read what `save_statistics` wrote. Raises ModelFileError for a file that is damaged or something else."""
    from safetensors import safe_open

    from ...loaders.formats.weights import read_safetensors

    tensors = read_safetensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ModelFileError(f"{path.name} holds no feature statistics of Tastemaker.")
        about = json.loads(metadata["about"])
        mean, scatter, count = tensors["mean"], tensors["scatter"], about.pop("count")
        _check(mean, scatter, count)
    except ModelFileError:
        raise
    except OSError as e:
        raise ModelFileError(f"{path.name} cannot be read ({e.strerror or 'no file'}).") from e
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ModelFileError(f"{path.name} is damaged ({str(e)[:200]}).") from e
    return FeatureStatistics(count, mean, scatter, about)


_MOST = 10**9  # pictures; no set has so many
_LARGEST = 1e6  # of a feature: Inception's are below 10
_ROUNDING = 1e-6  # of the largest variance: below 0 by so much is rounding


def _check(mean: torch.Tensor, scatter: torch.Tensor, count: object) -> None:
    """Raise ValueError for what is no mean and covariance of features: FID of it would be any number at all."""
    if type(count) is not int or not 0 < count <= _MOST:
        raise ValueError("its count makes no sense")
    if mean.ndim != 1 or scatter.shape != (len(mean), len(mean)) or not len(mean):
        raise ValueError("its shapes make no sense")
    if not all(t.dtype == torch.float64 and torch.isfinite(t).all() for t in (mean, scatter)):
        raise ValueError("its numbers make no sense")
    largest = float(scatter.abs().max())
    if float(mean.abs().max()) > _LARGEST or largest > count * _LARGEST**2:
        raise ValueError("its numbers are larger than any features")
    if not torch.allclose(scatter, scatter.T, rtol=0, atol=_ROUNDING * largest):
        raise ValueError("its covariance is not symmetric")
    # a matrix has no eigenvalue below -r where adding r to its diagonal leaves it positive definite: of 2,048 features
    # Cholesky says so in 0.2 s of one core, the eigenvalues themselves in 0.6 s
    allowed = _ROUNDING * largest * len(mean) * torch.eye(len(mean), dtype=torch.float64)
    if largest and torch.linalg.cholesky_ex(scatter + allowed).info:
        raise ValueError("it has a negative variance, so it is no covariance")


def check_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Raise InputError unless two sets of features came from the same network and the same resizing."""
    for key in ("extractor", "fingerprint", "resize"):
        if first.get(key) != second.get(key):
            raise InputError(
                "reference", f"{key} {second.get(key)}", f"The pictures were read with {key} {first.get(key)}; use one."
            )

"""Scores of a Ray Dataset, by two actors of a local Ray, are those of scoring the pictures one by one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tastemaker.core.errors import InputError
from tastemaker.ranking.ray import PROBLEM, Scorer, score_dataset
from tastemaker.rewards import load_reward
from tests.ranking.scale_files import png

NAME = "jpeg-compressibility"


def wanted(files: list[bytes]) -> list[float]:
    pictures = [Image.open(io.BytesIO(data)) for data in files]
    return load_reward(NAME).picture_columns(pictures, "")[NAME].tolist()


def column(values: list[Any]) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def test_a_batch_gets_a_column_a_reward_and_says_what_is_broken() -> None:
    files = [png(1), b"no picture", png(2)]
    found = Scorer({NAME: 1.0})({"image": column(files), "id": np.arange(3)})
    assert found[NAME][[0, 2]].tolist() == pytest.approx(wanted([files[0], files[2]]))
    assert np.isnan(found[NAME][1])
    assert found[PROBLEM][1]
    assert not found[PROBLEM][0]
    assert found["id"].tolist() == [0, 1, 2]


def test_arrays_are_scored_as_their_pixels() -> None:
    pixels = np.asarray(Image.open(io.BytesIO(png(3))))
    found = Scorer({NAME: 1.0})({"image": column([pixels, pixels.astype(np.float32)])})
    assert found[NAME][0] == pytest.approx(wanted([png(3)])[0])
    assert "uint8" in found[PROBLEM][1]


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="picture"):
        Scorer({NAME: 1.0}, image="picture")({"image": column([png(1)])})


@pytest.fixture
def local_ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Ray's own
def test_two_workers_of_a_local_ray(local_ray: Any) -> None:
    from ray.data import from_items

    files = [png(i) for i in range(20)]
    dataset = from_items([{"id": i, "image": data} for i, data in enumerate(files)])
    scored = score_dataset(dataset, {NAME: 1.0}, workers=2, batch_size=4).take_all()
    found = {row["id"]: row[NAME] for row in scored}
    assert [found[i] for i in range(20)] == pytest.approx(wanted(files))

"""What pictures in memory, in files and of neither kind answer; batches made ready ahead."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest
import torch
from PIL import Image

from tastemaker.images.folder import read_folder
from tastemaker.images.pictures import TensorPictures, as_pictures
from tastemaker.images.prefetch import prefetched
from tastemaker.loaders import InputError


def test_pictures_in_memory_are_a_batch_and_no_files() -> None:
    images = torch.rand(2, 4, 6, 3)
    pictures = as_pictures(images)
    assert pictures.batch() is images
    assert (pictures.file(0), pictures.listed(0), pictures.open(0), pictures.content_key(0)) == (None,) * 4
    assert pictures.decode(1).size == (6, 4)
    assert as_pictures(pictures) is pictures


def test_pictures_in_files_are_files_and_no_batch(tmp_path: Path) -> None:
    Image.new("P", (6, 4)).save(tmp_path / "a.png")
    pictures = read_folder(tmp_path).pictures
    assert pictures.batch() is None
    assert pictures.file(0) == tmp_path / "a.png"
    assert pictures.listed(0) == pictures.files[0]
    assert (pictures.decode(0).mode, pictures.decode(0, keep_mode=True).mode) == ("RGB", "P")
    with pictures.open(0) as file:
        assert file.read() == (tmp_path / "a.png").read_bytes()
    assert pictures.content_key(0) is None  # nothing was read for it
    key = pictures.key(0)
    assert pictures.content_key(0) == key
    again = read_folder(tmp_path).pictures
    again.learn_key(0, "f" * 64)
    assert (again.content_key(0), again.key(0)) == ("f" * 64, "f" * 64)


@pytest.mark.parametrize("value", ["text", None, [1], torch.zeros(4, 4, 3), torch.zeros(0, 4, 4, 3), torch.tensor(1.0)])
def test_what_is_no_pictures_is_refused_by_the_inputs_name(value: object) -> None:
    with pytest.raises(InputError, match="reference"):
        as_pictures(value, "reference")


def test_a_batch_of_nan_is_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        as_pictures(torch.full((1, 2, 2, 3), float("nan")))
    assert len(TensorPictures(torch.zeros(2, 2, 2, 3)).rows([])) == 0  # what is left of a batch may be nothing


def test_the_next_batch_is_made_ready_and_no_more() -> None:
    asked: list[int] = []
    second = threading.Event()

    def work(i: int) -> int:
        asked.append(i)
        if i == 3:
            second.set()
        return 10 * i

    with closing(prefetched(work, [[0, 1], [2, 3], [4, 5]])) as batches:
        assert next(batches) == ([0, 1], [0, 10])
        assert second.wait(10)
        assert sorted(asked) == [0, 1, 2, 3]
        assert next(batches) == ([2, 3], [20, 30])
    assert list(prefetched(work, [])) == []


def test_closing_early_stops_what_has_not_begun() -> None:
    go = threading.Event()
    asked: list[int] = []

    def work(i: int) -> int:
        asked.append(i)
        if i:
            go.wait(10)
        return i

    batches = prefetched(work, [[0], range(1, 100)])
    next(batches)
    threading.Timer(0.1, go.set).start()
    batches.close()
    assert len(asked) < 100
    with pytest.raises(ZeroDivisionError):
        list(prefetched(lambda i: 1 // i, [[1], [0]]))


def test_a_key_is_of_the_content_and_goes_where_its_row_goes() -> None:
    images = torch.rand(3, 4, 6, 3, generator=torch.Generator().manual_seed(0))
    pictures = TensorPictures(images)
    keys = [pictures.key(i) for i in (2, 0)]
    some = pictures.rows([2, 1, 0])
    assert [some.key(0), some.key(2)] == keys
    assert some.keys.keys() == {0, 2}  # the second was never asked for
    assert some.key(1) == TensorPictures(images[1:2]).key(0)
    assert len({*keys, some.key(1)}) == 3

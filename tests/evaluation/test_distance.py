"""FID and KID: closed forms, the reference library, any batch size, stored and merged statistics."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tastemaker.core.errors import InputError, ModelFileError
from tastemaker.evaluation.fid.distance import (
    _distance,
    _distance_of_few,
    _root,
    _weighted_moments,
    frechet_distance,
    frechet_interval,
    kernel_distance,
    polynomial_kernel,
    squared_mmd,
    too_few,
)
from tastemaker.evaluation.fid.statistics import (
    FeatureStatistics,
    check_comparable,
    load_statistics,
    save_statistics,
    statistics_of,
)


def gaussian(mean: list[float], covariance: torch.Tensor) -> FeatureStatistics:
    """Statistics whose mean and covariance are exactly these."""
    return FeatureStatistics(101, torch.tensor(mean, dtype=torch.float64), covariance.double() * 100)


def features(count: int, width: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=torch.Generator().manual_seed(99)) / width**0.5
    return (torch.randn(count, width, generator=generator) @ mix).relu() + shift


def test_equal_sets_are_no_distance_apart() -> None:
    one = statistics_of([features(200, 16, 0)])
    assert abs(frechet_distance(one, one)) < 1e-9


def test_gaussians_along_the_axes() -> None:
    """Diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2 = (9 + 16) + (2 - 1)^2 + (3 - 5)^2 = 30."""
    first = gaussian([0, 0], torch.diag(torch.tensor([4.0, 9.0])))
    second = gaussian([3, 4], torch.diag(torch.tensor([1.0, 25.0])))
    assert frechet_distance(first, second) == pytest.approx(30, rel=1e-12)
    assert frechet_distance(second, first) == pytest.approx(30, rel=1e-12)


def test_a_covariance_scaled_and_one_turned() -> None:
    """C and 4 C: Tr(C + 4 C - 2 * 2 C) = Tr C. A turn by 90 degrees of diag(4, 9): roots of C1 C2 are 6 and 6."""
    c = torch.tensor([[3.0, 1.0], [1.0, 2.0]])
    assert frechet_distance(gaussian([1, 1], c), gaussian([1, 1], 4 * c)) == pytest.approx(5, rel=1e-12)
    along, turned = torch.diag(torch.tensor([4.0, 9.0])), torch.diag(torch.tensor([9.0, 4.0]))
    assert frechet_distance(gaussian([0, 0], along), gaussian([0, 0], turned)) == pytest.approx(26 - 24, rel=1e-12)


def test_fewer_pictures_than_features() -> None:
    """Rank 1 each, at right angles: nothing is shared, so Tr(C1) + Tr(C2)."""
    first = torch.zeros(2, 50)
    first[:, 0] = torch.tensor([-1.0, 1.0])  # variance 2
    second = torch.zeros(2, 50)
    second[:, 1] = torch.tensor([-3.0, 3.0])  # variance 18
    assert frechet_distance(statistics_of([first]), statistics_of([second])) == pytest.approx(20, rel=1e-12)


@pytest.mark.parametrize(("count", "width"), [(500, 16), (900, 192)])
def test_fid_is_the_reference_librarys(count: int, width: int) -> None:
    reference = pytest.importorskip("torch_fidelity.metric_fid")
    first, second = features(count, width, 1), features(count + 37, width, 2, 0.05)
    stats = [reference.fid_features_to_statistics(f.double()) for f in (first, second)]
    wanted = reference.fid_statistics_to_metric(*stats, False)["frechet_inception_distance"]
    found = frechet_distance(statistics_of([first]), statistics_of([second]))
    assert found == pytest.approx(wanted, rel=1e-6)


def test_fid_is_numpys_eigenvalues_of_the_product() -> None:
    """The textbook way, without the reference library: roots of the eigenvalues of C1 C2."""
    first, second = features(300, 24, 1).double().numpy(), features(260, 24, 2, 0.1).double().numpy()
    c1, c2 = (np.cov(f, rowvar=False) for f in (first, second))
    apart = first.mean(0) - second.mean(0)
    shared = np.sqrt(np.linalg.eigvals(c1 @ c2).astype(complex)).real.sum()
    wanted = apart @ apart + np.trace(c1) + np.trace(c2) - 2 * shared
    found = frechet_distance(*(statistics_of([torch.from_numpy(f)]) for f in (first, second)))
    assert found == pytest.approx(wanted, rel=1e-9)


def test_statistics_are_the_same_bits_for_any_batches() -> None:
    rows = features(1000, 12, 3)
    whole = statistics_of([rows])
    for size in (1, 7, 64, 256, 300, 999):
        part = statistics_of(rows.split(size))
        assert torch.equal(part.mean, whole.mean)
        assert torch.equal(part.scatter, whole.scatter)
    assert torch.allclose(whole.covariance, torch.cov(rows.double().T), rtol=1e-12)


def test_merged_statistics_are_those_of_all() -> None:
    rows = features(700, 12, 3)
    parts = [statistics_of([part]) for part in rows.split([1, 300, 399])]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    whole = statistics_of([rows])
    assert merged.count == 700
    assert torch.allclose(merged.mean, whole.mean, rtol=1e-13)
    assert torch.allclose(merged.scatter, whole.scatter, rtol=1e-12)


def test_statistics_survive_the_disk_and_damage_is_found(tmp_path: Path) -> None:
    about = {"extractor": "tiny-vision", "fingerprint": "ab", "resize": "clean", "source": "a folder"}
    made = statistics_of([features(50, 8, 4)], about)
    path = tmp_path / "known.safetensors"
    save_statistics(path, made)
    found = load_statistics(path)
    assert found.about == about
    assert found.count == 50
    assert torch.equal(found.scatter, made.scatter)
    for damaged in (
        path.read_bytes()[:-9],
        b"",
        b"<html>",
        path.read_bytes().replace(b"tastemaker-features", b"x" * 19),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError):
            load_statistics(path)


def test_sets_read_differently_are_not_compared() -> None:
    about = {"extractor": "inception-v3", "fingerprint": "ab", "resize": "clean"}
    check_comparable(about, {**about, "source": "other"})
    with pytest.raises(InputError, match="resize legacy"):
        check_comparable(about, {**about, "resize": "legacy"})
    with pytest.raises(InputError, match="same network"):
        frechet_distance(statistics_of([features(9, 4, 0)]), statistics_of([features(9, 5, 0)]))


@pytest.mark.parametrize("count", [0, 1])
def test_a_set_needs_two_pictures(count: int) -> None:
    good = statistics_of([features(9, 4, 0)])
    with pytest.raises(InputError, match="two|no picture"):
        frechet_distance(statistics_of([features(count, 4, 0)]), good)


def test_features_that_are_no_numbers_are_refused() -> None:
    rows = features(9, 4, 0)
    rows[3, 2] = math.inf
    with pytest.raises(InputError, match="NaN"):
        statistics_of([rows])


def test_kid_by_hand() -> None:
    """D = 1. x = {0, 1}, y = {1, 2}: k(0,1) = 1, k(1,2) = 27, cross: k(0,1), k(0,2) = 1, k(1,1) = 8, k(1,2) = 27."""
    x, y = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[1.0], [2.0]]).double()
    assert polynomial_kernel(x, y).tolist() == [[1.0, 1.0], [8.0, 27.0]]
    assert squared_mmd(x, y) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)


def test_kid_is_the_reference_librarys_on_a_subset() -> None:
    reference = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = features(120, 32, 1).double(), features(120, 32, 2, 0.1).double()
    settings = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None}
    wanted = reference.kernel_mmd(x.numpy(), y.numpy(), **settings, kid_kernel_poly_coef0=1)
    assert squared_mmd(x, y) == pytest.approx(wanted, rel=1e-9)


def test_kid_is_unbiased_for_sets_of_one_kind_and_covers_it() -> None:
    near, far = [], 0
    for seed in range(20):
        x, y = features(400, 8, 2 * seed + 1000), features(400, 8, 2 * seed + 1001)
        found = kernel_distance(lambda i, x=x: x[i], 400, lambda i, y=y: y[i], 400, subsets=20, subset_size=50)
        near.append(found.value)
        far += not found.low <= 0 <= found.high
    assert abs(sum(near) / 20) < 3 * float(torch.tensor(near).std()) / 20**0.5
    assert far <= 6
    x, y = features(400, 8, 1), features(400, 8, 2, 0.5)
    apart = kernel_distance(lambda i: x[i], 400, lambda i: y[i], 400, subsets=20, subset_size=50)
    assert apart.low > 0


def test_the_bootstrap_covers_the_true_distance() -> None:
    """Known truth: N(0, I) against N(0.3, I) in 4 dimensions, 4 * 0.09 = 0.36, the reference being exact."""
    truth = FeatureStatistics(2, torch.full((4,), 0.3, dtype=torch.float64), torch.eye(4, dtype=torch.float64))
    covered = 0
    for seed in range(20):
        x = torch.randn(500, 4, generator=torch.Generator().manual_seed(seed))
        found = frechet_interval(lambda i, x=x: x[i], 500, statistics_of([x]), truth, resamples=40)
        assert found.low < found.value < found.high
        covered += found.low <= 0.36 <= found.high
    assert covered >= 16


def test_the_bootstrap_draws_prompts_not_pictures() -> None:
    """Each picture four times over: the interval of the 50 different ones, not the narrower one of 200."""
    x = features(50, 4, 3).double()
    other = statistics_of([features(400, 4, 4)])
    many = x.repeat_interleave(4, 0)
    settings = {"resamples": 60, "seed": 1}
    single = frechet_interval(lambda i: x[i], 50, statistics_of([x]), other, **settings)
    alone = frechet_interval(lambda i: many[i], 200, statistics_of([many]), other, **settings)
    groups = [i // 4 for i in range(200)]
    grouped = frechet_interval(lambda i: many[i], 200, statistics_of([many]), other, groups=groups, **settings)
    reach = [found.high - found.value for found in (single, grouped, alone)]
    assert reach[1] == pytest.approx(reach[0], rel=0.1)
    assert reach[2] < 0.75 * reach[0]


def test_large_subsets_of_kid_are_summed_in_parts() -> None:
    x, y = features(1500, 4, 1).double(), features(1300, 4, 2, 0.1).double()
    inside = [polynomial_kernel(z, z) for z in (x, y)]
    within = [float(k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1)) for k in inside]
    wanted = within[0] + within[1] - 2 * float(polynomial_kernel(x, y).mean())
    assert squared_mmd(x, y) == pytest.approx(wanted, rel=1e-9)


def test_few_pictures_have_the_same_distance_either_way() -> None:
    """20 rows of 50 features: by their covariance, and by the products of rows, one of them drawn three times."""
    x = features(20, 50, 1).double()
    weights = torch.ones(20, dtype=torch.float64)
    weights[3], weights[5], weights[6] = 3, 0, 0
    other = statistics_of([features(200, 50, 2)])
    root = _root(other.covariance)
    trace = float(torch.trace(other.covariance))
    mean, covariance = _weighted_moments(lambda i: x[i], weights, x[0])
    repeated = statistics_of([x[[*range(5), *range(7, 20), 3, 3]]])
    assert torch.allclose(covariance, repeated.covariance, rtol=1e-10, atol=1e-12)
    wanted = frechet_distance(repeated, other)
    assert _distance(mean, covariance, other.mean, trace, root) == pytest.approx(wanted, rel=1e-9)
    assert _distance_of_few(lambda i: x[i], weights, other.mean, trace, root) == pytest.approx(wanted, rel=1e-7)


def test_too_few_pictures_are_said_to_be() -> None:
    assert "full rank" in too_few(1000, 50_000, 2048)
    assert "badly estimated" in too_few(5000, 50_000, 2048)
    assert too_few(30_000, 30_000, 2048) == ""

"""What the trainings of the embedded models are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from scripts.embedded import ddpm
from scripts.embedded.checker import read
from scripts.embedded.training import Learner, Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_orthogonal_brings_singular_values_near_one_and_keeps_directions(shape: tuple[int, int]) -> None:
    rows, columns = shape
    generator = torch.Generator().manual_seed(1)
    left = torch.linalg.qr(torch.randn(rows, rows, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(columns, columns, generator=generator))[0]
    count = min(shape)
    matrix = left[:, :count] @ torch.diag(torch.linspace(0.5, 2.0, count)) @ right[:count]
    made = orthogonal(matrix)
    values = torch.linalg.svdvals(made)
    assert 0.6 < values.min() <= values.max() < 1.3  # the quintic's band, in bfloat16
    between = left[:, :count].T @ made @ right[:count].T
    assert (between - torch.diag(between.diagonal())).abs().max() < 0.05


def test_a_first_step_of_muon_by_hand() -> None:
    weight = nn.Parameter(torch.full((4, 1, 2, 2), 2.0))
    gradient = torch.eye(4).view(4, 1, 2, 2)
    weight.grad = 3 * gradient
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    # momentum 0.95: 3 + 0.95 * 3 times the identity, made orthogonal; 0.2 * sqrt(4) scales a step of 0.1
    step = 0.1 * 0.4 * orthogonal(torch.eye(4)).view(4, 1, 2, 2)
    torch.testing.assert_close(weight.detach(), torch.full((4, 1, 2, 2), 2.0 * 0.95) - step, atol=1e-3, rtol=0)


def test_a_learner_with_both_optimizers_moves_every_parameter_once() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 1))
    before = [p.detach().clone() for p in module.parameters()]
    learner = Learner("test", module, lr=1e-2, steps=20, by_matrix=[module[0].weight])
    x, y = torch.randn(64, 6), torch.randn(64, 1)
    losses = []
    for _ in range(20):
        loss = (module(x) - y).square().mean()
        learner(loss)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert all((p - b).abs().max() > 0 for p, b in zip(module.parameters(), before, strict=True))


def test_tiny_ddpm_is_taught_large_shapes_of_one_size_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ddpm, "PICTURES", 40)
    pictures = ddpm.draw_centred(3)
    readings = [read(p.permute(1, 2, 0).numpy() / 255) for p in pictures.pixels]
    assert {(r.size, r.position) for r in readings} == {("large", "centre")}
    assert all(r.clean for r in readings)
    one_shape = [p for p, s in zip(readings, pictures.scenes, strict=True) if s.shape == pictures.scenes[0].shape]
    assert len(one_shape) > 1
    assert np.ptp([r.overlap for r in one_shape]) < 0.05  # the same outline each time


def test_muon_takes_the_inside_of_the_network_alone() -> None:
    unet = ddpm.build()
    chosen = {id(p) for p in ddpm.matrices(unet)}
    names = {n for n, p in unet.named_parameters() if id(p) in chosen}
    assert "mid_block.resnets.0.conv1.weight" in names
    assert "mid_block.attentions.0.to_q.weight" in names
    assert not any(n.startswith(("conv_in", "conv_out", "time_embedding")) or "time_emb_proj" in n for n in names)
    assert sum(p.numel() for p in ddpm.matrices(unet)) > 0.8 * sum(p.numel() for p in unet.parameters())


def test_the_loss_weighs_as_v_does_up_to_a_bound() -> None:
    # 1 / (1 - alpha): no weight below 1; from alpha 0.8 on, 5
    assert ddpm.weights(torch.tensor([0.0, 0.5, 0.75, 0.8, 0.99])).tolist() == pytest.approx([1, 2, 4, 5, 5])

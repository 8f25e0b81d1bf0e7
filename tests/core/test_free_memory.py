"""Free memory of the CPU: what can be had, and no more than a container may have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from tastemaker.core import memory
from tastemaker.core.memory import free_bytes

CPU = torch.device("cpu")
MIB = 2**20


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a system with 8000 MiB available, of which 100 are free, and no groups yet."""
    found = SimpleNamespace(total=16000 * MIB, available=8000 * MIB, free=100 * MIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: found)
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "groups")
    return tmp_path


def group(folder: Path, names: tuple[str, str, str], limit: object, usage: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cached}\n")


NEW, OLD = memory._FILES


def test_cached_files_count_as_free(system: Path) -> None:
    assert free_bytes(CPU) == 8000 * MIB


def test_the_real_system_is_asked() -> None:
    assert 0 < free_bytes(CPU) <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("names", "line", "place"), [(NEW, "0::/box/job", "box"), (OLD, "4:memory:/box/job", "memory/box")]
)
def test_a_containers_limit_counts(system: Path, names: tuple[str, str, str], line: str, place: str) -> None:
    (system / "cgroup").write_text(f"9:name=systemd:/\n{line}\n")
    group(system / "groups" / place, names, 1000 * MIB, 700 * MIB, 50 * MIB)
    group(system / "groups" / place / "job", names, "max" if names is NEW else 2**63 - 4096, 700 * MIB, 0)
    assert free_bytes(CPU) == 350 * MIB
    group(system / "groups" / place, names, 1000 * MIB, 1100 * MIB, 0)
    assert free_bytes(CPU) == 0


def test_groups_that_cannot_be_read_are_passed_over(system: Path) -> None:
    (system / "cgroup").write_text("0::/elsewhere\n")
    group(system / "groups", NEW, "max", 5, 5)
    assert free_bytes(CPU) == 8000 * MIB


def test_other_devices_are_not_guessed() -> None:
    assert free_bytes(torch.device("meta")) is None

"""Fixtures shared by all rooms: the embedded models, a real server, a browser."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOLDENS = Path(__file__).resolve().parent / "goldens"
OFFICIAL = Path(__file__).resolve().parent / "official"  # small files as they are published

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing at run time may need the network


LONGEST = ("tests/nodes/test_finetune_server.py", "tests/page", "tests/fuzz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes: at the end, one of them alone would keep all cores but one idle."""

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(ROOT).as_posix()
        return next((i for i, start in enumerate(LONGEST) if path.startswith(start)), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def tiny_sdxl():
    from tastemaker.loaders import load_diffusion_model

    return load_diffusion_model("tiny-sdxl")


@pytest.fixture(scope="session")
def tiny_ddpm():
    from tastemaker.loaders import load_diffusion_model

    return load_diffusion_model("tiny-ddpm")


@pytest.fixture(scope="session")
def tiny_reward():
    from tastemaker.rewards import load_reward

    return load_reward("tiny-imagereward")


@pytest.fixture
def workflow() -> Any:
    """Reads a workflow of the pack by name."""
    return lambda name: json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One real ComfyUI for the whole run, on a base directory of its own."""
    from scripts.comfy.server import ComfyServer

    with ComfyServer(tmp_path_factory.mktemp("comfy")) as running:
        yield running


@pytest.fixture
def client(server: Any) -> Any:
    from scripts.comfy.client import ComfyClient

    return ComfyClient(server.address)

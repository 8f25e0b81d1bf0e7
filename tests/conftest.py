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

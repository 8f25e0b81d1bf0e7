"""The canary: a file that exists only once foreign code has run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The marker's path. A module `evil` that writes it is importable; at the end it must not exist."""
    marker = tmp_path / "foreign-code-ran"
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Model: pass\n")
    monkeypatch.syspath_prepend(modules)
    yield marker
    assert not marker.exists(), "foreign code ran"

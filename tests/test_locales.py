"""The page's words in other languages: complete, up to date, and true to what must stay as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.locales import LOCALES, TRANSLATIONS
from tests.conftest import ROOT

LANGUAGES = sorted(path.stem for path in TRANSLATIONS.glob("*.json"))
DOCS = ROOT / "web" / "docs"
# names of files, folders, settings and values, which no language changes
FIXED = re.compile(
    r"[\w.-]*[\w]/[\w./-]*\w|\b\w+_\w+\b|\.\w{3,}\b|\b[a-z]\w*-\w*\d\w*\b|\b(?:tiny|mjhq|coco|parti|inception)-\w+\b"
    r"|\b(?:ddim|ddpm|pndm|lcm|b?float\d+|FID|KID|SDXL|LoRA|VAE|DDPO|KSampler|ControlNet)\b"
)
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
THOUSANDS = re.compile(r"(?<=\d)[,.](?=\d{3}\b)", re.ASCII)


def read(language: str, name: str = "nodeDefs.json") -> dict[str, Any]:
    return json.loads((LOCALES / language / name).read_text(encoding="utf-8"))


def leaves(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Return every text by its path."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {key: value for name, below in tree.items() for key, value in leaves(below, (*path, name)).items()}


def test_the_files_are_what_schemas_and_translations_say_and_none_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.locales", "--check"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_promised_language_is_there() -> None:
    assert {path.name for path in LOCALES.iterdir()} == {"en", *LANGUAGES}
    assert set(LANGUAGES) == {"zh", "ja", "ko", "de", "fr", "es"}


@pytest.mark.parametrize("name", ["nodeDefs.json", "commands.json"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_the_keys_of_english_and_no_empty_text(language: str, name: str) -> None:
    words, english = leaves(read(language, name)), leaves(read("en", name))
    assert set(words) == set(english)
    assert all(text.strip() == text and text for text in words.values())


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_nothing_that_the_page_would_read_as_a_placeholder(language: str) -> None:
    """The page compiles these texts: braces, pipes and at signs mean something to it, and dots in keys too."""
    for path, text in leaves(read(language)).items():
        assert not re.search(r"[{}|@]", text), (path, text)
        assert not any("." in key for key in path)


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_and_numbers_stay(language: str) -> None:
    """Names in a text are those of English; an input's may stand as its label, in braces in the source."""
    texts = json.loads((TRANSLATIONS / f"{language}.json").read_text(encoding="utf-8"))["texts"]
    lost = []
    for english, text in texts.items():
        for word in FIXED.findall(english):
            if word not in text:
                lost.append((word, text))
        numbers = [set(NUMBER.findall(THOUSANDS.sub("", words))) for words in (english, text)]
        lost += [(number, text) for number in numbers[0] - numbers[1]]
    assert not lost


@pytest.mark.parametrize("language", LANGUAGES)
def test_options_that_a_text_explains_stay_as_they_are_chosen(language: str) -> None:
    from scripts.locales import options

    texts = json.loads((TRANSLATIONS / f"{language}.json").read_text(encoding="utf-8"))["texts"]
    explained = options()
    assert sum(map(len, explained.values())) > 60
    for english, words in explained.items():
        for word in words:
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", texts[english], re.ASCII), (word, english)


@pytest.mark.parametrize("language", LANGUAGES)
def test_labels_of_one_node_differ(language: str) -> None:
    for node, spec in read(language).items():
        labels = [entry["name"] for entry in spec["inputs"].values()]
        assert len(labels) == len(set(labels)), node


def translated_pages() -> list[Path]:
    return sorted(path for path in DOCS.glob("*/*.md") if path.stem != "en")


@pytest.mark.parametrize("page", translated_pages(), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_help_page_has_the_parts_of_the_english_one(page: Path) -> None:
    text, english = page.read_text(encoding="utf-8"), (page.parent / "en.md").read_text(encoding="utf-8")
    for pattern in (r"^#+ ", r"^\|", r"^```"):
        counts = [len(re.findall(pattern, words, re.MULTILINE)) for words in (text, english)]
        assert counts[0] == counts[1], pattern
    for pattern in (r"\]\(([^)]+)\)", r"src=\"([^\"]+)\"", r"`([^`\n]+)`"):
        found = [set(re.findall(pattern, words)) for words in (text, english)]
        assert found[0] >= found[1], found[1] - found[0]


def test_a_changed_english_page_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts import locales

    known = set(locales.stale_pages())
    keys = {**locales.page_keys(), "TastemakerRank": "another"}
    monkeypatch.setattr(locales, "page_keys", lambda: keys)
    assert set(locales.stale_pages()) == known | {"TastemakerRank"}


@pytest.mark.parametrize("page", translated_pages(), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_help_page_has_the_title_and_the_labels_that_the_node_shows(page: Path) -> None:
    spec, text = read(page.stem)[page.parent.name], page.read_text(encoding="utf-8")
    assert text.startswith(f"# {spec['display_name']}\n")
    for name, entry in spec["inputs"].items():
        assert entry["name"] in text, name
        assert name in text or name in entry["name"].lower(), name

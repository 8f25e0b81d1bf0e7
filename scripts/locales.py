"""Write `locales/`: the words of every node in the languages of ComfyUI's page, English from the schemas themselves.

    python -m scripts.locales [--check] [--pages-done]

A translation stands in `scripts/translations/<language>.json` beside its English: `labels` are the short names on
a node, by the name of an input or output (`Node.input` where one node means something else), `texts` are everything
else. As the English text is the key, one that changed has no translation: it is told, and the page shows the
English until there is one. `{top_k}` in a translation becomes the label of that input.

With `--check` nothing is written; it fails when something lacks a translation, is no longer asked for, or when the
files are not what would be written. Help pages are translated by hand (`web/docs/<NodeId>/<language>.md`); those whose
English has changed since are told and fail nothing. `--pages-done` says that they were all brought up to date.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .comfy.locate import ROOT, find

LOCALES, TRANSLATIONS = ROOT / "locales", Path(__file__).resolve().parent / "translations"
QUOTES = {
    "zh": "\u201c\u201d",
    "ja": "\u300c\u300d",
    "ko": "\u2018\u2019",
    "de": "\u201e\u201c",
    "fr": "\u00ab\u00bb",
    "es": "\u00ab\u00bb",
}
DOCS, PAGES = ROOT / "web" / "docs", TRANSLATIONS / "pages" / "translated_from.json"
HELP = ("zh", "ja")  # the languages that help pages are written in too
COMMAND = re.compile(r'id: "(Tastemaker\.\w+)", label: "([^"]+)"')


@cache
def english() -> dict[str, dict[str, Any]]:
    """Return ComfyUI's `nodeDefs` of all nodes, in English, as their schemas have them."""
    comfy = find()
    if comfy is None:
        sys.exit("[tastemaker] There is no ComfyUI yet, whose API the nodes are written in: run `make demo` first.")
    sys.path.insert(0, str(comfy))
    from tastemaker.nodes import NODES

    return {schema.node_id: _definition(schema) for schema in (node.define_schema() for node in NODES)}


def _definition(schema: Any) -> dict[str, Any]:
    def words(name: str, tooltip: str | None) -> dict[str, str]:
        return {"name": name, **({"tooltip": tooltip} if tooltip else {})}

    outputs = enumerate(schema.outputs or [])
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {entry.id: words(entry.id, entry.tooltip) for entry in schema.inputs},
        "outputs": {str(place): words(entry.display_name, entry.tooltip) for place, entry in outputs},
    }


def commands() -> dict[str, dict[str, str]]:
    """Return the commands of the page's scripts, as ComfyUI's `commands.json` has them."""
    found = [pair for path in sorted((ROOT / "web").glob("*.js")) for pair in COMMAND.findall(path.read_text("utf-8"))]
    return {name.replace(".", "_"): {"label": label} for name, label in found}


def options() -> dict[str, list[str]]:
    """Return, for each text of an input with a list of its own words, the words that the text explains."""
    english()
    from tastemaker.nodes import NODES

    found: dict[str, list[str]] = {}
    for node in NODES:
        for entry in node.define_schema().inputs:
            words = [str(word) for word in getattr(entry, "options", None) or []]
            tip = entry.tooltip or ""
            found[tip] = [word for word in words if re.search(rf"(?<![\w-]){re.escape(word)}(?=:)", tip)]
    return found


class Language:
    """One language's translations. `unknown` and `used` say what was asked for without one, and what with one."""

    def __init__(self, name: str) -> None:
        path = TRANSLATIONS / f"{name}.json"
        source = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self.name, self.labels, self.texts = name, source.get("labels", {}), source.get("texts", {})
        self.unknown: list[str] = []
        self.used: set[tuple[str, str]] = set()

    def label(self, node: str, name: str) -> str | None:
        """Return what is shown for an input or output, of that node or of any."""
        key = f"{node}.{name}" if f"{node}.{name}" in self.labels else name
        return self._found("labels", self.labels, key)

    def text(self, node: str, text: str) -> str | None:
        """Return a text, with the labels of the inputs that it names."""
        found = self._found("texts", self.texts, text)
        left, right = QUOTES.get(self.name, "''")
        if self.name == "fr":  # which leaves a space inside of them
            left, right = f"{left}\u00a0", f"\u00a0{right}"
        return found and re.sub(r"\{(\w+)\}", lambda m: f"{left}{self.label(node, m[1]) or m[1]}{right}", found)

    def _found(self, part: str, entries: dict[str, str], key: str) -> str | None:
        if key in entries:
            self.used.add((part, key))
        elif key not in self.unknown:
            self.unknown.append(key)
        return entries.get(key)

    def unused(self) -> list[str]:
        """Return the translations of what the nodes no longer say."""
        entries = [("labels", key) for key in self.labels] + [("texts", key) for key in self.texts]
        return [key for part, key in entries if (part, key) not in self.used]


def translated(language: Language) -> dict[str, Any]:
    """Return the files of a language by name; what it has no words for is left out, and the page shows the English."""

    def known(entries: dict[str, str | None]) -> dict[str, str]:
        return {key: value for key, value in entries.items() if value}

    def words(node: str, entry: dict[str, str]) -> dict[str, str]:
        tip = {"tooltip": language.text(node, entry["tooltip"])} if "tooltip" in entry else {}
        return known({"name": language.label(node, entry["name"]), **tip})

    nodes = {
        node: {
            **known({key: language.text(node, spec[key]) for key in ("display_name", "description")}),
            "inputs": {name: words(node, entry) for name, entry in spec["inputs"].items()},
            "outputs": {place: words(node, entry) for place, entry in spec["outputs"].items()},
        }
        for node, spec in english().items()
    }
    own = {name: known({"label": language.text("", entry["label"])}) for name, entry in commands().items()}
    return {"nodeDefs.json": nodes, "commands.json": own}


def languages() -> Iterator[Language]:
    """Yield the languages there are translations of."""
    for path in sorted(TRANSLATIONS.glob("*.json")):
        yield Language(path.stem)


def files() -> tuple[dict[Path, str], list[str]]:
    """Return what `locales/` holds, by path, and what is wrong with the translations."""
    made: dict[str, dict[str, Any]] = {"en": {"nodeDefs.json": english(), "commands.json": commands()}}
    wrong: list[str] = []
    for language in languages():
        made[language.name] = translated(language)
        wrong += [f"{language.name}: no translation of {key!r}" for key in language.unknown]
        wrong += [f"{language.name}: nothing says {key!r} any more" for key in language.unused()]
    written = {
        LOCALES / language / name: json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        for language, contents in made.items()
        for name, content in contents.items()
    }
    return written, wrong


def page_keys() -> dict[str, str]:
    """Return a key of the English text of each node's help page that has translations."""
    pages = {path.parent for path in DOCS.glob("*/*.md") if path.stem != "en"}
    return {page.name: hashlib.sha256((page / "en.md").read_bytes()).hexdigest()[:16] for page in sorted(pages)}


def stale_pages() -> list[str]:
    """Return the nodes whose English help page is not the one that was translated."""
    translated_from = json.loads(PAGES.read_text("utf-8"))
    return [node for node, key in page_keys().items() if translated_from.get(node) != key]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts.locales", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something is not up to date")
    parser.add_argument("--pages-done", action="store_true", help="translated help pages say what the English ones say")
    chosen = parser.parse_args()
    if chosen.pages_done:
        PAGES.parent.mkdir(exist_ok=True)
        PAGES.write_text(json.dumps(page_keys(), indent=2) + "\n", encoding="utf-8")
    written, wrong = files()
    for path, text in written.items():
        if chosen.check and (not path.exists() or path.read_text("utf-8") != text):
            wrong.append(f"{path.relative_to(ROOT)} is not up to date: run python -m scripts.locales")
        elif not chosen.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    notes = [f"web/docs/{node}/en.md has changed since it was translated" for node in stale_pages()]
    pages = [DOCS / node / f"{language}.md" for node in english() for language in HELP]
    notes += [f"there is no {page.relative_to(ROOT)} yet" for page in pages if not page.exists()]
    for line in (*wrong, *notes):
        print(f"[tastemaker] {line}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

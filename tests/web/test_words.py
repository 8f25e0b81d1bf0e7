"""The panels' words: every one is said through one place, and every language has it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conftest import ROOT

WEB = ROOT / "web"
LANGUAGES = ("zh", "ja", "ko", "de", "fr", "es")
SAY = re.compile(r'(?<![.#])\bsay\(\s*"((?:[^"\\]|\\.)*)"')
SAY_COUNT = re.compile(r'\bsayCount\(\s*[^,"]+,\s*"((?:[^"\\]|\\.)*)",\s*"((?:[^"\\]|\\.)*)"')
CALL = re.compile(r"(?<![.#\w])(?:say|sayCount)\(")
DEFINED = re.compile(r"^export function \w+\(", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|(?<![:\"'`])//[^\n]*", re.DOTALL)
IMPORT = re.compile(r"^import .*$", re.MULTILINE)
PLACEHOLDER = re.compile(r"\{\w+\}")
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`')
SHOWN = re.compile(
    r'(?:\b(?:text|title|alt|placeholder)|"aria-(?:label|valuetext)"):\s*$|\.(?:textContent|title|alt)\s*=\s*$'
)
SENTENCE = re.compile(r"^\W*(?:[A-Z][a-z]+|[a-z]{3,}(?: [a-z]{2,})+)(?:[ ,;:?!'].*|\.(?: .*)?)?$")
# words that are none of the panels': keys and commands of the page, and the name of what comes with a model
NOT_SAID = {
    "all scores",  # the name of an output
    "Backspace", "End", "Enter", "Escape", "Home", "Tab",
    "Teach your taste (Tastemaker)", "Vote on pairs (Tastemaker)",
}  # fmt: skip


def sources() -> dict[str, str]:
    """Every script of the page without its comments, by path."""
    return {
        str(path.relative_to(ROOT)): COMMENT.sub("", path.read_text(encoding="utf-8"))
        for path in sorted(WEB.rglob("*.js"))
    }


def keys(text: str) -> set[str]:
    """Return the English of everything that a script says."""
    found = {one[1] for one in SAY.finditer(text)} | {one[2] for one in SAY_COUNT.finditer(text)}
    return {json.loads(f'"{key}"') for key in found}


def words(language: str) -> dict[str, Any]:
    return json.loads((WEB / "words" / f"{language}.json").read_text(encoding="utf-8"))


def differing(used: set[str], known: dict[str, Any]) -> set[str]:
    return used ^ set(known)


def unsaid(text: str) -> list[str]:
    """Return the literals of a script that read like words for people and are not said."""
    left = SAY_COUNT.sub("(", SAY.sub("(", IMPORT.sub("", text)))
    found = []
    for one in LITERAL.finditer(left):
        literal = re.sub(r"\$\{[^}]*\}", "", one[1] if one[1] is not None else one[2])
        shown = SHOWN.search(left[max(0, one.start() - 40) : one.start()]) and re.search(r"[A-Za-z]{2,}", literal)
        if literal not in NOT_SAID and (shown or SENTENCE.match(literal)):
            found.append(literal)
    return found


USED = set().union(*map(keys, sources().values()))


def test_the_files_are_those_the_page_loads() -> None:
    assert {path.stem for path in (WEB / "words").iterdir()} == set(LANGUAGES)
    asked = re.search(r"LANGUAGES = \[([^\]]*)\]", (WEB / "language.js").read_text(encoding="utf-8"))
    assert asked
    assert set(json.loads(f"[{asked[1]}]")) == set(LANGUAGES)


def test_every_call_names_its_words_where_it_stands() -> None:
    """A key that is computed could not be found here, nor by who translates."""
    assert len(USED) > 200
    for name, text in sources().items():
        calls = len(CALL.findall(DEFINED.sub("", text)))
        assert calls == len(SAY.findall(text)) + len(SAY_COUNT.findall(text)), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_what_is_said_and_nothing_else(language: str) -> None:
    known = words(language)
    assert differing(USED, known) == set()
    taken = dict(list(known.items())[1:])
    assert differing(USED, taken) == {next(iter(known))}


@pytest.mark.parametrize("language", LANGUAGES)
def test_its_texts_are_whole_and_keep_what_is_put_into_them(language: str) -> None:
    for key, entry in words(language).items():
        forms = [entry] if isinstance(entry, str) else list(entry.values())
        assert isinstance(entry, str) or "other" in entry, key
        for form in forms:
            assert form.strip() == form, key
            assert form, key
            assert sorted(PLACEHOLDER.findall(form)) == sorted(PLACEHOLDER.findall(key)), (key, form)


@pytest.mark.parametrize("name", sorted(sources()))
def test_nothing_is_shown_that_is_not_said(name: str) -> None:
    assert unsaid(sources()[name]) == []


@pytest.mark.parametrize(
    "line",
    [
        'button("tm-button", "Close", label, close)',
        'element("p", "", { text: "nothing here" })',
        'box.title = "seed"',
        'attributes: { "aria-label": `Rank ${place}` }',
        'one.textContent = two ? "Single" : name;',
        'this.announce("There is nothing to undo.")',
    ],
)
def test_words_that_are_not_said_are_found(line: str) -> None:
    assert len(unsaid(line)) == 1


def test_what_is_said_over_lines_and_of_many_is_read() -> None:
    said = 'say("Close"); sayCount(n, "{count} star", "{count} stars"); say(\n  "All of it",\n)'
    assert keys(said) == {"Close", "{count} stars", "All of it"}
    assert unsaid(said) == []

"""Texts: what counts as a prompt, how one stands in a message, on the page and in a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import InputError

MAX_PROMPT_CHARACTERS = 10_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_SHOWN_NAMES = 5


def check_prompts(prompts: Sequence[str], name: str = "prompts") -> None:
    """Raise InputError for an entry that is no text, too long, or cannot be written down as UTF-8."""
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise InputError(name, prompt, "Every prompt must be text.")
        if len(prompt) > MAX_PROMPT_CHARACTERS:
            raise InputError(name, prompt, f"A prompt has at most {MAX_PROMPT_CHARACTERS:,} characters.")
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise InputError(name, prompt, "The text holds a broken character (a lone surrogate).")


def shortened(text: str, most: int) -> str:
    """Return at most `most` characters of a text, and of a longer one how many it has."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def spreadsheet_text(text: str) -> str:
    """Return a text that a spreadsheet shows and never computes: what begins like a formula gets a quote before it."""
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def some(names: Iterable[str]) -> str:
    """Return the first five names of many, sorted, and how many more there are: "a, b, c, d, e and 7 more"."""
    names = sorted(names)
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more


def short(text: str, most: int = 120) -> str:
    """Return a text in ASCII, its other characters escaped, at most so many characters of it."""
    return ascii(text if len(text) <= most else text[: most - 3] + "...")[1:-1]

"""What counts as a prompt, for everything that reads one, and how a text stands in a spreadsheet."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import InputError

MAX_PROMPT_CHARACTERS = 10_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def check_prompts(prompts: Sequence[str], name: str = "prompts") -> None:
    """Raises InputError for an entry that is no text, too long, or cannot be written down as UTF-8."""
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

"""Prompts: a text box to a list of prompts."""

from __future__ import annotations

from comfy_api.latest import io

from ..core.errors import InputError
from .checked import checked
from .listing import schema
from .wires import CATEGORY, PromptList, TastePrompts

MAX_PROMPTS = 1000
MAX_CHARACTERS = 100_000


def split_prompts(text: str) -> tuple[str, ...]:
    """One prompt a line; blank lines and lines that start with # are left out. Raises InputError."""
    if len(text) > MAX_CHARACTERS:
        raise InputError("text", text, f"At most {MAX_CHARACTERS:,} characters.")
    lines = tuple(line.strip() for line in text.splitlines())
    prompts = tuple(line for line in lines if line and not line.startswith("#"))
    if not prompts:
        raise InputError("text", text, "Type at least one prompt, one to a line.")
    if len(prompts) > MAX_PROMPTS:
        raise InputError("text", f"{len(prompts)} prompts", f"At most {MAX_PROMPTS} prompts.")
    return prompts


class TastemakerPrompts(io.ComfyNode):
    """A list of prompts, one a line."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerPrompts",
            display_name="Prompts",
            category=CATEGORY,
            description="One prompt a line. Lines that start with # are notes.",
            inputs=[
                io.String.Input(
                    "text",
                    multiline=True,
                    default="a large red heart on a blue background",
                    tooltip="One prompt a line. Blank lines and lines that start with # are left out.",
                )
            ],
            outputs=[TastePrompts.Output(display_name="prompts")],
        )

    @classmethod
    @checked
    def execute(cls, text: str) -> io.NodeOutput:
        return io.NodeOutput(PromptList(split_prompts(text)))

"""Tastemaker: sample, score, rank and fine-tune diffusion models by human preference.

A ComfyUI node pack and a Python library in one folder. Nothing heavy is imported here: torch,
diffusers and transformers load on first use.
"""

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint():
    """Return the extension that ComfyUI gets the nodes from."""
    from .nodes import TastemakerExtension

    return TastemakerExtension()

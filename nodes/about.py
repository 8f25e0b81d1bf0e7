"""A loaded model in words, for people."""

from __future__ import annotations

from ..loaders import DiffusionModel
from ..loaders.catalogue import known_model


def about(model: DiffusionModel) -> str:
    """Name, kind, size, parts and scheduler of a model, and what the catalogue says of its name."""
    from ..sampling.scheduler_config import describe  # imports torch

    height, width = model.native_size
    lines = [
        model.name,
        f"kind: {model.spec.about} ({model.architecture})",
        f"native size: {width} x {height} pixels, sizes are multiples of {model.size_multiple}",
    ]
    for name, module in model.modules.items():
        count = sum(parameter.numel() for parameter in module.parameters())
        kind = str(next(module.parameters()).dtype).removeprefix("torch.")
        lines.append(f"{name}: {type(module).__name__}, {_millions(count)} parameters, {kind}")
    lines += ["", describe(model.scheduler_config)]
    known = known_model(model.name)
    if known is not None:
        lines += ["", f"The catalogue says of the name {known.name}:", f"licence: {known.licence}"]
        if known.guidance_scale is not None:
            lines.append(f"recommended guidance_scale: {known.guidance_scale:g}")
    return "\n".join(lines)


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} million"

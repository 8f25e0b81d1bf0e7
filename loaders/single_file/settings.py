"""How a single file wants to be sampled, from what it holds beside weights: marks, notes and its name.

No checkpoint has a scheduler config in it. What a network predicts stands in empty tensors that ComfyUI reads
(`v_pred`, `ztsnr`), or in the notes of the file's header: `modelspec.prediction_type` (kohya sd-scripts,
library/sai_model_spec.py), `modelspec.predict_key` (ComfyUI, comfy_extras/nodes_model_merging.py),
`ss_v_parameterization` and `ss_zero_terminal_snr` (kohya's training notes). That a model was distilled to few steps,
only its name and title say.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from ..layout.configs import Shapes

_log = logging.getLogger(__name__)

Notes = Mapping[str, str]  # a safetensors header's `__metadata__`

_WORDS = {
    **dict.fromkeys(("v", "vpred", "v_pred", "v-pred", "v_prediction", "v-prediction", "velocity"), "v_prediction"),
    **dict.fromkeys(("epsilon", "eps"), "epsilon"),
    **dict.fromkeys(("sample", "x0"), "sample"),
}
_PREDICTION_NOTES = ("modelspec.prediction_type", "modelspec.predict_key")
# where one word ends and the next begins in `RealVisXL_V5Lightning-fp16`
_JOINT = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
# among words joined by a stroke; not in hyperrealism, nor in Hyper_Real
_DISTILLED = re.compile(r"turbo|lightning|(^|_)(lcm|dmd2?)(_|\d|sd|$)|(^|_)hyper(_?(sd|xl|\d|step)|$)")
_RESOLUTION = re.compile(r"(\d{3,4})x(\d{3,4})")


def prediction_type(name: str, shapes: Shapes, notes: Notes) -> str:
    """Return what a file's network predicts: by its marks, else its notes, else its name, else epsilon.

    The only names that count are those of SDXL-Lightning for one step (`sdxl_lightning_1step_x0.safetensors`), which
    predicts the clean sample.
    """
    if "v_pred" in shapes:
        return "v_prediction"
    for key in _PREDICTION_NOTES:
        said = notes.get(key, "").strip().lower()
        if said in _WORDS:
            return _WORDS[said]
        if said:
            _log.warning("%s: its header says %s %r, which is not known here.", name, key, said[:80])
    if _says_true(notes, "ss_v_parameterization"):
        return "v_prediction"
    words = _words(name)
    one_step = "x0" in words or "1step" in words or ("1", "step") in zip(words, words[1:], strict=False)
    return "sample" if one_step and any("lightning" in word for word in words) else "epsilon"


def is_zero_snr(shapes: Shapes, notes: Notes, prediction: str) -> bool:
    """Whether a file says that it was trained up to pure noise. Notes count for v-prediction only."""
    return "ztsnr" in shapes or (prediction == "v_prediction" and _says_true(notes, "ss_zero_terminal_snr"))


def is_distilled(name: str, notes: Notes) -> bool:
    """Whether a file's name or title has a word for models of few steps: turbo, Lightning, Hyper, DMD2, LCM.

    Their makers sample them with trailing spacing, from the noisiest timestep on.
    """
    return any(_DISTILLED.search("_".join(_words(text))) for text in (name, notes.get("modelspec.title", "")))


def trained_size(notes: Notes) -> tuple[int, int] | None:
    """Return (height, width) in pixels that a file's notes say it was trained at, or None."""
    found = _RESOLUTION.fullmatch(notes.get("modelspec.resolution", "").strip().lower())
    return (int(found[2]), int(found[1])) if found else None


def _says_true(notes: Notes, key: str) -> bool:
    return notes.get(key, "").strip().lower() in ("true", "1")


def _words(text: str) -> list[str]:
    return [word.lower() for word in _JOINT.split(text.removesuffix(".safetensors")) if word]

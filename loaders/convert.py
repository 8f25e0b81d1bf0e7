"""The official pickled files as safetensors, which hold nothing but tensors and load faster.

python -m tastemaker.loaders.convert ComfyUI/models/rewards/ImageReward.pt
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..core.errors import ModelFileError
from ..core.files import write_atomic
from .formats.component import PICKLED, read_weights

# The entry that holds the weights, by the beginning of the file's name; of all others it is the whole file.
_INSIDE = {"model_large": "model", "HPS_": "state_dict"}


def to_safetensors(path: Path) -> Path:
    """Write the tensors of a pickled reward file, as they are stored, into a safetensors file beside it.

    The old file stays. Raises ModelFileError for a file that is none or whose copy is already there, and OSError
    when writing fails.
    """
    from safetensors.torch import save

    if path.suffix.lower() not in PICKLED:
        raise ModelFileError(f"{path.name} is no pickled file; its name ends in none of {', '.join(PICKLED)}.")
    target = path.with_suffix(".safetensors")
    if target.exists():
        raise ModelFileError(f"{target.name} is already there in {path.parent.name}. Remove it to convert again.")
    inside = next((entry for start, entry in _INSIDE.items() if path.name.startswith(start)), None)
    write_atomic(target, save(read_weights(path, inside=inside), metadata={"format": "pt"}))
    return target


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        sys.stdout.write(f"{to_safetensors(Path(argument))}\n")

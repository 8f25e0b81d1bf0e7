"""The official pickled files as safetensors, which hold nothing but tensors and load faster.

python -m tastemaker.loaders.convert ComfyUI/models/rewards/ImageReward.pt
"""

from __future__ import annotations

import sys
from pathlib import Path

from .formats.component import to_safetensors

__all__ = ["to_safetensors"]

if __name__ == "__main__":
    for argument in sys.argv[1:]:
        sys.stdout.write(f"{to_safetensors(Path(argument))}\n")

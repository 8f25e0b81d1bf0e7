"""LoRA files: their keys, their kinds, and merging them into a model while it is used."""

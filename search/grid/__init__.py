"""Grids: the same prompts and seeds under every combination of two or three settings."""

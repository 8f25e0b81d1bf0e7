"""The published checks, for whoever has the real weights: `python -m scripts.acceptance MODELS`."""

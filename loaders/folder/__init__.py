"""A diffusers folder to modules: what may be in it, and its tokenizers."""

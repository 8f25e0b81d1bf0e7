"""A ComfyUI for development: finding it, starting it, talking to it."""

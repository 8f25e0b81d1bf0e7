"""The second embedded world: 3D emoji in drawn landscapes, its checker, and what was trained on it."""

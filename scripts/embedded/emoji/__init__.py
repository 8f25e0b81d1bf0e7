"""The second embedded world: 3D emoji in drawn landscapes, its checker, its models' training."""

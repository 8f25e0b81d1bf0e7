"""Ways to learn from rewards: one file an algorithm, its entry in `registry.py`."""

"""Ways to learn from rewards: one file an algorithm, its entries in `registry.py` and `classes.py`."""

"""One file a loss family: what an epoch collects, and one update."""

"""A run's folder: checkpoints, report, curve."""

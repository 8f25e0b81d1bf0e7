"""Measurements: ours against the reference, in the same run. Results go to `RESULTS.md`."""

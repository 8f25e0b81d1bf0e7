"""A single file in the original layout to modules."""

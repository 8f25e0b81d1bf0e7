"""The architectures by their sizes, and the names of their tensors in the original layout."""

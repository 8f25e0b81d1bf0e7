"""Full-size modules with random weights, and what is checked with them."""

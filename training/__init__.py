"""Fine-tuning on rewards (DDPO). Imports `sampling`, `rewards` and `loaders` only; empty so far."""

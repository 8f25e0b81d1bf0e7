"""Files to tensors: safetensors, restricted pickles, their limits and fingerprints."""

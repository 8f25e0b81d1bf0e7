"""Ranking past one machine: any number of pictures, in folders or WebDataset shards; shared out, resumable."""

"""Measuring models: FID, KID, rewards' means and diversity. Imports `sampling`, `rewards`, `loaders`; torch when used."""

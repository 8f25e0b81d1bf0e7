"""Measuring models: FID, KID, rewards, votes. Imports `sampling`, `rewards`, `loaders`; torch only when used."""

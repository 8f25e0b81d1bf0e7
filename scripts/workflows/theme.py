"""What the templates share: colours of frames, and the words of the embedded models' world in an order of practice."""

from __future__ import annotations

BLUE, GREEN, AMBER = "#3f789e", "#3f6f4f", "#8a6d3b"  # frames: what is chosen, what is made, what is kept
PRACTISED = ("red", "blue", "green", "white", "yellow", "purple", "orange", "pink")  # neighbours differ strongly

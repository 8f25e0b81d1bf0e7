"""How much of a folder of pictures is read: beyond what artists have, below what hurts."""

from __future__ import annotations

MAX_PICTURES = 100_000  # of one folder, its sub-folders included
MAX_VISITED = 1_000_000  # files and folders looked at to find them
MAX_FOLDER_DEPTH = 12
MAX_PICTURE_PIXELS = 2**26  # 8192 x 8192
MAX_PICTURE_SIDE = 32_768
MAX_PICTURE_RATIO = 256  # of the longer side to the shorter: a network's square is cut from the resized picture
MAX_PICTURE_BYTES = 2**28
MAX_CHUNKS = 100_000  # of a PNG: Pillow writes one for each 64 KiB
MAX_TEXT_BYTES = 2**24  # one text of a PNG, unpacked; a large workflow has about one MiB
MAX_TEXTS = 100  # texts of one PNG that are read; programs write one of each keyword
MAX_TEXTS_BYTES = 2**26  # of all of them, unpacked: a fifth of a second
MAX_SIDECAR_BYTES = 2**17
MAX_GRAPH_NODES = 20_000
MAX_GRAPH_DEPTH = 64  # links followed one after the other, from a sampler to its text

# pictures of several sizes: each by itself, or made the first one's size; block is each, its old name
SIZES = ("each", "pad", "crop", "block")

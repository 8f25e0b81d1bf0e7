"""Everything that needs a GPU, in one call on a machine without a network: `make benchmark-gpu OUT=FOLDER`.

`rows.py` writes a line of JSON for each figure as soon as it is measured; each other module is a section.
"""

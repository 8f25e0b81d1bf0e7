"""One file a reward, which ends in its entry in the registry and imports nothing heavy before its `build` is called.

What several share: `pixels.py`, `preprocess.py` and the files with an underscore.
"""

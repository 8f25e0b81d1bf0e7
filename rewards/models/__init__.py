"""One file a reward, ending in its entry in the registry; files with an underscore are what several of them share.

A reward's file imports nothing heavy until its `build` is called.
"""

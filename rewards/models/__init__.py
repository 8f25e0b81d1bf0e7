"""One file a reward, and the parts that several share."""

"""What learns: adapter or whole network, its averages, its memory."""

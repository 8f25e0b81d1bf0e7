"""FID and KID: the Inception network, resizing, features, statistics, distance."""

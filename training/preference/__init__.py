"""Learning from preferences: pictures that people or scores put in order, without a reward and without sampling."""

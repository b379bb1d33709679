"""Training: one loop, one stage a network, one run from a pack to a bundle."""

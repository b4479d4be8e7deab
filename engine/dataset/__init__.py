"""The coverage dataset: load it, drop duplicates, split it, and keep its dev and test prompts out of training."""

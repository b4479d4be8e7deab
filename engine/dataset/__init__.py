"""The coverage dataset: load it, drop duplicates, split it, and guard its dev and test prompts."""

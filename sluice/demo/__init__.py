"""The whole of Sluice on one machine: an embedded stack, and the story that is told on it."""

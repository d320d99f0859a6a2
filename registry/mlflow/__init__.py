"""MLflow's registered models, read over REST from a tracking server or a store, and brought over."""

"""Argo CD: what it says of the clusters, and what that means for a release that git wants."""

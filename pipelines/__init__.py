"""The release pipeline: steps, packagers and the image builder."""

"""The image builder: adds layers to a base image without a daemon and without unpacking the base."""

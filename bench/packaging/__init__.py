"""Packaging and images measured beside torch-model-archiver, buildah and a bare upload, in one run on one machine."""

"""Images in registries: a client for the OCI distribution specification 1.1, over https."""

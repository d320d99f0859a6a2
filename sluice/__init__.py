"""The face of Sluice: command line, settings and demo."""

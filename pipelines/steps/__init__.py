"""The steps of a release: plain functions, each handed only what it needs, each safe to run again."""

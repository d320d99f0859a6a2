"""The HTTP API: `sluice serve`. Everything heavy (FastAPI, uvicorn, joserfc) loads with the modules that need it."""

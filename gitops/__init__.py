"""The GitOps repository: releases, traffic routers, rendering, and the commits that switch traffic."""

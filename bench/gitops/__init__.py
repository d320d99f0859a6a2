"""Measures of the GitOps half: promotions, many writers, and status, over real HTTP."""

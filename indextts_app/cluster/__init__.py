"""Engines on other machines: replicas of the same worker, run by Ray Serve."""

AWAY_SECONDS = 600
"""A cluster's head may be away for so long: replicas need none to work on requests. After that the
gateway ends, and the next one connects anew."""

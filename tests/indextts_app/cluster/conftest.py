"""Ray, for every test here."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # Of its own use of pydantic, on which we have no influence.
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401

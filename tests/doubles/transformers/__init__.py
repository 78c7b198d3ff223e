"""A double of transformers: its stopping criteria."""

from __future__ import annotations

from typing import Any

__version__ = "0.0+double"


class StoppingCriteria:
    """Asked after each token whether to stop."""

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Whether to stop."""
        raise NotImplementedError


class StoppingCriteriaList(list[StoppingCriteria]):
    """Several of them, all asked."""

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> bool:
        """Whether any of them wants to stop."""
        answers = [bool(one(input_ids, scores, **kwargs)) for one in self]
        return any(answers)

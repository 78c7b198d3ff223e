"""Texts to begin with, each with the emotion that suits it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """`name` is a key of the page's texts."""

    name: str
    text: str
    emotion: str = "neutral"


EXAMPLES = (
    Example("example_chinese", "春天来了，湖边的柳树抽出了新芽，孩子们在草地上放风筝。"),
    Example(
        "example_english",
        "Good morning, and welcome aboard. The next train to the city leaves in five minutes.",
    ),
    Example(
        "example_mixed",
        "会议定于2026年3月15日14:30在A座301室举行，预算为¥12,800.50，"
        "约占全年的35%。Please reply by Friday.",
    ),
    Example("example_emotional", "太好了，我们终于成功了！真是让人激动的一天！", "happy"),
)

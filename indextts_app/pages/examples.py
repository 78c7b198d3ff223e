"""Texts to begin with, each with the emotion that suits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from indextts_app import emotions
from indextts_app.engines.base import Features
from indextts_app.pages.asking import has_modes


@dataclass(frozen=True, slots=True)
class Example:
    """`name` is a key of the page's texts."""

    name: str
    text: str
    emotion: str = "neutral"
    mode: str | None = None
    """A mode that not every engine has; None = by the name of the emotion, if it has one."""
    weights: Mapping[str, float] = field(default_factory=dict)
    described: str = ""

    def request(self) -> dict[str, object]:
        """The fields of a request that ask for its emotion."""
        found: dict[str, object] = {"emotion": self.emotion}
        if self.mode:
            found["emotion_mode"] = self.mode
        if self.weights:
            found["emotion_vector"] = [self.weights.get(name, 0.0) for name in emotions.WEIGHTS]
        if self.described:
            found["emotion_text"] = self.described
        return found


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
    Example(
        "example_blended",
        "You came all this way through the storm? I can hardly believe it!",
        mode="vector",
        weights={"happy": 0.35, "surprised": 0.45},
    ),
    Example(
        "example_described",
        "别出声，门外好像有人。",
        mode="text",
        described="压低声音，紧张又害怕",
    ),
)


def examples_for(features: Features) -> tuple[Example, ...]:
    """Those that this engine can speak as they are meant."""
    return tuple(
        example
        for example in EXAMPLES
        if example.mode is None or (has_modes(features) and example.mode in features.emotion_modes)
    )

"""
What may be asked of IndexTTS-2 and 2.5: every control of the official page and command line.

Ranges, steps and defaults are those of the official page (index-tts ee40fa7, `webui.py`); where a
model has another limit, `fitted` narrows the table once it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from indextts_app.engines.base import EMOTION_MODES, Control, Features, Translated

LANGUAGES = ("auto", "zh", "zhen", "en", "ja", "es", "ar")

_EMOTION_RANDOM = Control(
    "emotion_random",
    Translated("Random emotion sample", "情感随机采样"),
    "switch",
    default=False,
    group="emotion",
    info=Translated(
        "For weights and descriptions: livelier, but less like the speaker",
        "用于情感权重与情感描述：更有变化，但音色相似度会降低",
    ),
)

_INTERVAL_SILENCE = Control(
    "interval_silence_ms",
    Translated("Silence between segments (ms)", "分段间静音（毫秒）"),
    "integer",
    default=200,
    lowest=0,
    highest=5_000,
    step=10,
    group="delivery",
)

_SEGMENT_TOKENS = Control(
    "segment_tokens",
    Translated("Tokens per segment, at most", "每段最大 Token 数"),
    "integer",
    default=120,
    lowest=20,
    highest=600,
    step=2,
    group="delivery",
    info=Translated(
        "80 to 200 sounds best; smaller means an earlier first sound",
        "建议 80 到 200；越小首个声音越快，过小或过大都会影响音质",
    ),
)

_FIRST_SEGMENTS = Control(
    "quick_streaming_tokens",
    Translated("Keep segments short within the first tokens", "开头多少 Token 内不合并分段"),
    "integer",
    default=0,
    lowest=0,
    highest=600,
    step=1,
    group="delivery",
    info=Translated("For an earlier first sound when streaming", "流式输出时更快听到声音"),
)

_USE_GLOSSARY = Control(
    "use_glossary",
    Translated("Read terms by the glossary", "启用术语词汇读音"),
    "switch",
    default=True,
    group="delivery",
)

_LANGUAGE = Control(
    "language",
    Translated("Language", "语言"),
    "choice",
    default="auto",
    choices=LANGUAGES,
    group="delivery",
    info=Translated(
        "auto: by the letters of the text; Spanish must be named",
        "auto：按文字自动判断；西班牙语需手动选择",
    ),
)

_DURATION_FACTOR = Control(
    "duration_factor",
    Translated("Duration factor", "时长系数"),
    "number",
    default=1.0,
    lowest=0.5,
    highest=2.0,
    step=0.01,
    group="delivery",
    info=Translated("2 = twice as long", "2 = 时长加倍"),
)

_TEXT_NORMALIZATION = Control(
    "text_normalization",
    Translated("Write out numbers and dates", "文本规整（数字、日期）"),
    "switch",
    default=True,
    group="delivery",
    info=Translated(
        "Chinese and English; Spanish only where nemo_text_processing is installed; "
        "without effect in Japanese and Arabic",
        "用于中文与英文；西班牙语需另装 nemo_text_processing；对日语与阿拉伯语无效",
    ),
)

_GENERATION = (
    Control(
        "do_sample",
        Translated("Sampling", "采样 do_sample"),
        "switch",
        default=True,
        info=Translated("off: the likeliest token each time", "关闭后每步取最可能的 Token"),
    ),
    Control(
        "temperature",
        Translated("Temperature", "温度 temperature"),
        "number",
        default=0.8,
        lowest=0.1,
        highest=2.0,
        step=0.1,
    ),
    Control(
        "top_p",
        Translated("Top p", "top_p"),
        "number",
        default=0.8,
        lowest=0.0,
        highest=1.0,
        step=0.01,
    ),
    Control(
        "top_k",
        Translated("Top k (0 = all)", "top_k（0 为不限）"),
        "integer",
        default=30,
        lowest=0,
        highest=100,
        step=1,
    ),
    Control(
        "num_beams",
        Translated("Beams", "束宽 num_beams"),
        "integer",
        default=3,
        lowest=1,
        highest=10,
        step=1,
    ),
    Control(
        "repetition_penalty",
        Translated("Repetition penalty", "重复惩罚 repetition_penalty"),
        "number",
        default=10.0,
        lowest=0.1,
        highest=20.0,
        step=0.1,
    ),
    Control(
        "length_penalty",
        Translated("Length penalty", "长度惩罚 length_penalty"),
        "number",
        default=0.0,
        lowest=-2.0,
        highest=2.0,
        step=0.1,
    ),
    Control(
        "max_mel_tokens",
        Translated("Acoustic tokens per segment, at most", "每段最大声学 Token 数 max_mel_tokens"),
        "integer",
        default=1_500,
        lowest=50,
        highest=1_815,
        step=10,
        info=Translated("Too few cut the audio off", "过小会导致音频被截断"),
    ),
)

_ACCELERATED_IGNORES = frozenset(control.name for control in _GENERATION) - {
    "temperature",
    "max_mel_tokens",
}

_TABLES: Mapping[str, Features] = MappingProxyType(
    {
        "2": Features(
            reference="voice",
            emotion_modes=EMOTION_MODES,
            controls=(
                _EMOTION_RANDOM,
                _INTERVAL_SILENCE,
                _SEGMENT_TOKENS,
                _FIRST_SEGMENTS,
                _USE_GLOSSARY,
                *_GENERATION,
            ),
            speed=False,
            seed=True,
            glossary=True,
            segments=True,
            streams=True,
            text_hint=Translated(
                "A reading can be written into the text as pinyin with its tone: 晕XUAN4",
                "可在文本中用带声调的拼音标注读音，例如：晕XUAN4是一种GAN3觉",
            ),
        ),
        "2.5": Features(
            reference="voice",
            emotion_modes=EMOTION_MODES,
            controls=(
                _EMOTION_RANDOM,
                _LANGUAGE,
                _DURATION_FACTOR,
                _INTERVAL_SILENCE,
                _SEGMENT_TOKENS,
                _TEXT_NORMALIZATION,
                *_GENERATION,
            ),
            speed=True,
            seed=True,
            glossary=False,
            segments=True,
            streams=True,
            text_hint=Translated(
                "A reading can be written into the text: <行|XING2>, <going|G OW1 . IH0 NG>",
                "可在文本中标注读音：<行|XING2>、<going|G OW1 . IH0 NG>",
            ),
        ),
    }
)


def features(
    *, model_version: str, emotion_from_text: bool = True, accel: bool = False, **_: object
) -> Features:
    """
    What this version offers with these options of the engine.

    Without its emotion model there is no mode `text`; the accelerated token loop ignores all
    sampling parameters but the temperature (index-tts `infer_v2.py`, `use_accel`).
    """
    table = replace(_TABLES[model_version], elsewhere=_elsewhere(model_version))
    if not emotion_from_text:
        modes = tuple(mode for mode in table.emotion_modes if mode != "text")
        table = replace(table, emotion_modes=modes)
    if accel:
        table = replace(
            table,
            controls=tuple(
                control for control in table.controls if control.name not in _ACCELERATED_IGNORES
            ),
        )
    return table


def _elsewhere(model_version: str) -> dict[str, str]:
    """The controls of the other version that this one lacks."""
    own = {control.name for control in _TABLES[model_version].controls}
    return {
        control.name: f"IndexTTS-{version}"
        for version, table in _TABLES.items()
        for control in table.controls
        if control.name not in own
    }


def fitted(table: Features, *, max_mel_tokens: int, max_text_tokens: int) -> Features:
    """The same with the limits of the loaded model's own configuration; defaults stay within."""
    limits = {
        "max_mel_tokens": max_mel_tokens,
        "segment_tokens": max_text_tokens,
        "quick_streaming_tokens": max_text_tokens,
    }
    return replace(
        table,
        controls=tuple(
            _narrowed(control, limits[control.name]) if control.name in limits else control
            for control in table.controls
        ),
    )


def _narrowed(control: Control, limit: int) -> Control:
    highest = min(control.highest, limit)
    return replace(control, highest=highest, default=min(int(control.default), int(highest)))

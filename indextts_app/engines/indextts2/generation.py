"""The token loop as the request wants it: its parameters, its sampling, and its end when told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from indextts_app.engines.base import FieldUnusable, OutOfMemory, Translated, Value

_PARAMETERS = (
    "temperature",
    "top_p",
    "top_k",
    "num_beams",
    "repetition_penalty",
    "length_penalty",
    "max_mel_tokens",
)

_SAMPLING = ("temperature", "top_p", "top_k")
"""What means nothing where the likeliest token is taken each time."""

_NO_TOKEN_LEFT = ("probability tensor contains", "invalid multinomial distribution")
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")
_DEVICE_LOST = ("CUDA error", "device-side assert")


def parameters(values: Mapping[str, Value]) -> dict[str, Any]:
    """The arguments of `infer` for these controls; without sampling those that it needs not."""
    given: dict[str, Any] = {name: values[name] for name in _PARAMETERS if name in values}
    if given.get("top_k") == 0:
        # 0 stands for no limit on the page, None in transformers.
        given["top_k"] = None
    return given


class Sampling:
    """
    Makes `do_sample` true: upstream hard-codes True in its call of `inference_speech`.

    Seen in index-tts ee40fa7, `infer_v2.py` and `infer_v2_5.py`; the official page's switch has no
    effect there. Made before anything else wraps the method.
    """

    def __init__(self, gpt: Any) -> None:  # noqa: ANN401
        self.on = True
        self._generate: Callable[..., Any] = gpt.inference_speech
        gpt.inference_speech = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """The method itself, with `do_sample` as it is set."""
        if not self.on:
            kwargs = {name: value for name, value in kwargs.items() if name not in _SAMPLING}
        return self._generate(*args, **{**kwargs, "do_sample": self.on})


class StopWhenCancelled:
    """Asked by the token loop after each token; ends it by raising, or lets it go on."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def __call__(self, *_: object, **__: object) -> bool:
        """Whether to stop: no, or `Cancelled` is raised."""
        self._check()
        return False


@contextmanager
def checking_each_step(module: Any, check: Callable[[], None]) -> Iterator[None]:  # noqa: ANN401
    """`check` is called before each call of the module in the block."""
    hook = module.register_forward_pre_hook(lambda *_: check())
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def stopped_by(emotion_text: Any | None, criteria: Any) -> Iterator[None]:  # noqa: ANN401
    """
    The language model of the mode `text` is asked after each token as well, in the block.

    Upstream lets it make 32,768 tokens (`QwenEmotion.inference`), and passes nothing on to it.
    """
    if emotion_text is None:
        yield
        return
    model = emotion_text.model
    generate = model.generate
    model.generate = functools.partial(generate, stopping_criteria=criteria)
    try:
        yield
    finally:
        model.generate = generate


def meaning_of(error: Exception, values: Mapping[str, Value]) -> Exception | None:
    """
    What an error of the model means for the request, if it means something.

    A CUDA context is of no use after an assertion on the device: every later call of this process
    would fail, so that `SystemExit` is the only honest answer.
    """
    said = str(error)
    if any(words in said for words in _NO_TOKEN_LEFT):
        return _no_token_left(values)
    if any(words in said for words in _OUT_OF_MEMORY):
        return OutOfMemory()
    return None


def loses_device(error: Exception) -> bool:
    """Whether this process can do no more on its GPU."""
    return any(words in str(error) for words in _DEVICE_LOST)


def _no_token_left(values: Mapping[str, Value]) -> FieldUnusable:
    names = [name for name in (*_SAMPLING, "repetition_penalty", "num_beams") if name in values]
    chosen = ", ".join(f"{name} {float(values[name]):g}" for name in names)
    field = "num_beams" if float(values.get("num_beams", 1)) > 1 else "temperature"
    return FieldUnusable(
        field,
        Translated(
            f"with these generation parameters no token is left to choose from ({chosen}). Use "
            "fewer beams, a higher temperature, top_p or top_k, or a lower repetition penalty.",
            f"在这组生成参数下没有可选的 Token（{chosen}）。请减少束宽，提高温度、top_p 或 top_k，"
            "或降低重复惩罚。",
        ),
    )

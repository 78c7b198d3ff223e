"""
espeak-ng's C library, as far as speaking to memory needs it.

espeak-ng is free software under the GNU General Public License, version 3 or later
(https://github.com/espeak-ng/espeak-ng). It is not part of this program: it is installed from the
package `espeakng-loader`, and loaded only in a worker process of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

import numpy as np

from indextts_app.engines.base import Samples

_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_BUFFER_MS = 200
_UTF8, _PHONEME_INPUT, _AT_CHARACTER = 1, 0x100, 1

_OnSamples = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.c_void_p
)
_OnPhonemes = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p)


class Parameter(IntEnum):
    """espeak_PARAMETER of speak_lib.h, the ones that shape the prosody."""

    RATE = 1
    """Words a minute, 80 to 450; from 450 on the sound is compressed instead."""
    VOLUME = 2
    """100 is normal, from about 110 on the peaks clip."""
    PITCH = 3
    """0 to 99, 50 is normal."""
    RANGE = 4
    """0 (monotone) to 99, 50 is normal."""


class EspeakError(Exception):
    """espeak-ng could not be loaded, or answered a call with an error code. Says which."""


class _Kept:
    """Keeps what a callback raises: ctypes would print it and let espeak go on."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if error is not None:
            self.errors.append(error)
        return True


class Library:
    """
    One loaded espeak-ng, to be used by one thread only: a second one aborts the process.

    Voice and parameters belong to the library, not to this object, and stay as last set.
    """

    def __init__(self, library: Path, data: Path | None) -> None:
        """Load and initialise; `data` is the folder espeak-ng-data, None = the built-in place."""
        try:
            self._c = ctypes.CDLL(str(library))
        except OSError as error:
            raise EspeakError(str(error)) from error
        self._declare()
        self.sample_rate: int = self._c.espeak_Initialize(
            _SYNCHRONOUS, _BUFFER_MS, None if data is None else str(data).encode(), _DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise EspeakError(f"espeak_Initialize found no voice data in {data or library}")
        where = ctypes.c_char_p()
        self.version: str = self._c.espeak_Info(ctypes.byref(where)).decode()
        self.data = Path((where.value or b"").decode())

    def set_voice(self, name: str) -> None:
        """Change the voice; an unknown variant (`cmn+nope`) is silently the plain voice."""
        self._check("espeak_SetVoiceByName", self._c.espeak_SetVoiceByName(name.encode()))

    def set_parameter(self, parameter: Parameter, value: int) -> None:
        """Set a parameter for everything spoken from now on, whatever the voice."""
        self._check("espeak_SetParameter", self._c.espeak_SetParameter(parameter, value, 0))

    def phonemes(self, text: str) -> str:
        """The phonemes of the first clause in espeak's mnemonics, `(en)` where it changes voice."""
        buffer = ctypes.create_string_buffer(text.encode())
        rest = ctypes.c_void_p(ctypes.addressof(buffer))
        found = self._c.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, 0)
        return (found or b"").decode()

    def speak(
        self,
        text: str,
        *,
        on_clause: Callable[[str], None],
        on_samples: Callable[[Samples], bool],
        phoneme_input: bool = False,
    ) -> None:
        """
        Synthesize: `on_clause` gets each clause's phonemes, then `on_samples` its sound.

        `on_samples` gets up to 200 ms of mono samples to keep, and answers whether to go on. What
        either raises stops espeak and is raised here. No markup is understood, but with
        `phoneme_input` what is between `[[` and `]]` is taken as mnemonics.
        """
        kept = _Kept()

        def samples_ready(start: ctypes._Pointer[ctypes.c_int16], count: int, _: object) -> int:
            go_on = not kept.errors
            if go_on and count > 0:
                with kept:
                    go_on = on_samples(np.ctypeslib.as_array(start, (count,)).copy())
            return 0 if go_on and not kept.errors else 1

        def clause_ready(phonemes: bytes) -> int:
            with kept:
                on_clause(phonemes.decode())
            return 0

        hold = _OnSamples(samples_ready), _OnPhonemes(clause_ready)
        self._c.espeak_SetSynthCallback(hold[0])
        self._c.espeak_SetPhonemeCallback(hold[1])
        encoded = text.encode()
        flags = _UTF8 | (_PHONEME_INPUT if phoneme_input else 0)
        answer = self._c.espeak_Synth(
            encoded, len(encoded) + 1, 0, _AT_CHARACTER, 0, flags, None, None
        )
        if kept.errors:
            raise kept.errors[0]
        self._check("espeak_Synth", answer)

    def _declare(self) -> None:
        c = self._c
        c.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        c.espeak_Info.restype = ctypes.c_char_p
        c.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        c.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
        c.espeak_TextToPhonemes.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
        c.espeak_TextToPhonemes.restype = ctypes.c_char_p
        c.espeak_SetSynthCallback.argtypes = [_OnSamples]
        c.espeak_SetSynthCallback.restype = None
        c.espeak_SetPhonemeCallback.argtypes = [_OnPhonemes]
        c.espeak_SetPhonemeCallback.restype = None
        c.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]

    @staticmethod
    def _check(call: str, answer: int) -> None:
        if answer != 0:
            raise EspeakError(f"{call} answered {answer}")

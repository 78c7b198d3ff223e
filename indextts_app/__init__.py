"""IndexTTS-2 as a service that can answer for every second of audio it made."""

__version__ = "0.1.0"

"""Every knob of the service, typed, from `INDEXTTS_*` variables or `.env`; read once at start."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "INDEXTTS_"
ENV_FILE = ".env"

TIMEOUT_SECONDS = {"indextts2": 300.0}
"""The time for a request, where an engine needs more than a minute for a long text."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(Exception):
    """A setting that does not exist or does not fit; the message names it and what would fit."""


class Settings(BaseSettings):
    """The settings of one process; every field stands in the README's table."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    engine: Literal["espeak", "drill", "indextts2"] = Field(
        "espeak", description="engine that makes the sound"
    )
    workers: int = Field(1, ge=1, le=64, description="worker processes, one request at a time each")
    worker_python: Path | None = Field(
        None, description="Python interpreter of the workers; the service's own if not set"
    )
    model_dir: Path = Field(Path("checkpoints"), description="folder of the model's weights")
    model_version: Literal["2", "2.5"] = Field("2", description="IndexTTS-2 or IndexTTS-2.5")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?|xpu|mps)$", description="where the model runs"
    )
    half_precision: bool = Field(False, description="16-bit model on a GPU: less memory, faster")
    emotion_from_text: bool = Field(
        True, description="load the model that reads emotions from text"
    )
    cuda_kernel: bool = Field(False, description="compile the vocoder's own CUDA kernel")
    deepspeed: bool = Field(False, description="run the token model with DeepSpeed")
    accel: bool = Field(
        False, description="run the token model with flash-attention; fewer controls work then"
    )
    torch_compile: bool = Field(False, description="compile the spectrogram model")
    speaker_dir: Path = Field(
        Path("speakers"), description="folder of speakers, presets and the glossary"
    )
    max_speakers: int = Field(500, ge=1, le=10_000, description="speakers that may be made")
    speaker_cache_mb: float = Field(
        512, ge=0, description="memory for encoded speakers in each worker"
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on")

    log_dir: Path = Field(Path("logs"), description="folder of the JSON lines")
    log_keep_days: int = Field(30, ge=7, description="days that log files are kept")
    log_stdout: bool = Field(True, description="write the same lines to stdout")
    hash_key: SecretStr | None = Field(
        None,
        description="key of the text hashes; if not set, one is made and kept in the output folder",
    )

    output_dir: Path = Field(Path("outputs"), description="folder of the audio files")
    output_keep_hours: float = Field(24, gt=0, description="hours that audio files are kept")

    max_text_chars: int = Field(500, ge=1, le=5000, description="longest text of one request")
    max_queue: int = Field(32, ge=0, le=10_000, description="requests that may wait for a worker")
    max_upload_mb: float = Field(
        20, gt=0, le=200, description="largest request, recordings included"
    )
    timeout_seconds: float = Field(
        default_factory=lambda given: TIMEOUT_SECONDS.get(given.get("engine", ""), 60.0),
        gt=0,
        description="longest time from the door to the answer",
    )
    worker_start_seconds: float | None = Field(
        None, gt=0, description="longest start of a worker; if not set, what the engine needs"
    )
    shutdown_seconds: float = Field(30, ge=0, description="grace for running requests at shutdown")

    self_heal: Literal["observe", "act"] = Field(
        "observe",
        description="whether workers are restarted for their memory, or it is only logged",
    )
    empty_cache_mb: float = Field(
        1024, gt=0, description="unused memory on the device that is given back between requests"
    )
    worker_memory_mb: float = Field(
        0, ge=0, description="memory of a worker that is too much (0 = none is)"
    )
    memory_slope_mb: float = Field(
        4, ge=0, description="lasting growth a request that is too much (0 = none is)"
    )
    recycle_requests: int = Field(
        0, ge=0, description="requests after which a worker is replaced (0 = never)"
    )
    idle_unload_seconds: float = Field(
        0, ge=0, description="idle time after which a worker is unloaded (0 = never)"
    )

    loki_url: str | None = Field(
        None, pattern="^https?://", description="Loki to ask instead of the log files"
    )
    archive_bucket: str | None = Field(
        None, description="bucket of an S3-compatible storage for archives; none if not set"
    )
    archive_endpoint: str | None = Field(
        None, pattern="^https?://", description="address of that storage; AWS's own if not set"
    )
    archive_prefix: str = Field("", description="what the names of archives begin with there")
    archive_region: str | None = Field(None, description="region of that storage")
    archive_access_key: SecretStr | None = Field(
        None, description="access key of that storage; the machine's own rights if not set"
    )
    archive_secret_key: SecretStr | None = Field(None, description="its secret key")
    archive_addressing: Literal["auto", "virtual", "path"] = Field(
        "auto", description="bucket in the host's name (virtual, as OSS wants it) or in the path"
    )
    archive_local_days: int = Field(
        7, ge=1, description="days that lines stay here once the storage has them"
    )
    archive_keep_days: int = Field(90, ge=7, description="days that archives stay anywhere")

    metrics_allow: Annotated[tuple[Network, ...], NoDecode] = Field(
        (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
        description="addresses or networks that may read /metrics, comma-separated",
    )
    operations_allow: Annotated[tuple[Network, ...], NoDecode] = Field(
        (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
        description="addresses or networks that, while there is no operations password, may change "
        "what is kept and read /requests and /operations",
    )
    operations_user: str = Field(
        "operator", min_length=1, max_length=64, description="name to log in to /operations with"
    )
    operations_password: SecretStr | None = Field(
        None,
        min_length=8,
        max_length=256,
        description="password of /operations, /requests and whatever is kept; with one, whoever "
        "knows it may read and change them from any address, and nobody else",
    )

    gpu_hour_price: float | None = Field(
        None, ge=0, description="price of a GPU hour, for the cost in the monthly report"
    )
    currency: str = Field("CNY", pattern=r"^[A-Z]{3}$", description="currency of that price")
    slo_percent: float = Field(
        99.5, gt=0, lt=100, description="availability that is promised, for the monthly report"
    )

    drill_seconds: float = Field(
        0.05, ge=0, le=3600, description="time that the drill engine takes for a request"
    )
    drill_slow_seconds: float = Field(
        10, ge=0, le=3600, description="time that its speaker `slow` takes"
    )
    drill_leak_mb: float = Field(
        8, ge=0, le=4096, description="memory that its speaker `leak` keeps, three times a request"
    )

    @field_validator("metrics_allow", "operations_allow", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(
                ipaddress.ip_network(part.strip(), strict=False)
                for part in value.split(",")
                if part.strip()
            )
        return value


def load() -> Settings:
    """
    The settings of this process.

    Raises:
        SettingsError: an `INDEXTTS_*` name that does not exist, or a value that does not fit.
    """
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    # In upper case, because lower-case names are taken as well.
    given = {name.upper() for name in (*os.environ, *dotenv_values(ENV_FILE))}
    unknown = sorted({name for name in given if name.startswith(PREFIX)} - known)
    if unknown:
        raise SettingsError(
            f"Unknown setting {', '.join(unknown)}. The README lists all that exist."
        )
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = f"{PREFIX}{'_'.join(str(part) for part in first['loc'][:1]).upper()}"
        raise SettingsError(f"{name} does not fit: {first['msg']}.") from error

"""Every knob of the service, typed, from `INDEXTTS_*` variables or `.env`; read once at start."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from observability.day_file import KEEP_DAYS
from observability.log_store.day_sources import ARCHIVE

PREFIX = "INDEXTTS_"
ENV_FILE = ".env"

TIMEOUT_SECONDS = {"indextts2": 300.0}
"""The time for a request, where an engine needs more than a minute for a long text."""

RESULT_CACHE_MB = {"drill": 0.0}
"""A rehearsal of faults is pointless where the first take is served again."""

INSTANCE_PATTERN = r"^[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,99}$"
"""Fit for a label of Prometheus and Loki, for a folder, and for a name in object storage."""

ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104  # looked for, not listened on

CLUSTER_GPUS = {"indextts2": 1.0}
"""GPUs of a replica, where an engine needs one to be quick."""


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(Exception):
    """A setting that does not exist or does not fit; the message names it and what would fit."""


class Settings(BaseSettings):
    """The settings of one process; every field stands in the README's table."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    engine: Literal["espeak", "drill", "indextts2", "sambert", "openai_speech"] = Field(
        "espeak", description="engine that makes the sound"
    )
    workers: int = Field(1, ge=1, le=64, description="worker processes, one request at a time each")
    worker_python: Path | None = Field(
        None, description="Python interpreter of the workers; the service's own if not set"
    )
    cluster: str | None = Field(
        None,
        description="Ray cluster that runs the engines, auto or HOST:PORT; none if not set",
    )
    cluster_app: str = Field(
        "indextts",
        pattern=r"^[a-z][a-z0-9-]{0,39}$",
        description="name there; services of one name share its replicas",
    )
    cluster_min_replicas: int = Field(1, ge=1, le=1_000, description="replicas that always run")
    cluster_max_replicas: int = Field(4, ge=1, le=1_000, description="replicas at the most")
    cluster_waiting_per_replica: float = Field(
        1.0,
        gt=0,
        le=10_000,
        description="requests waiting for each replica that call for one more",
    )
    cluster_gpus: float = Field(
        default_factory=lambda given: CLUSTER_GPUS.get(given.get("engine", ""), 0.0),
        ge=0,
        le=1_000,
        description="GPUs of a replica, a share of one or whole ones",
    )
    cluster_cpus: float = Field(1.0, gt=0, le=10_000, description="CPUs of a replica")
    cluster_memory_mb: float = Field(
        0,
        ge=0,
        # Ray counts in ten thousandths of a byte, in 64 bits.
        le=100_000_000,
        description="memory of a replica: reserved, and its worker ended beyond (0 = any)",
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

    speech_url: str | None = Field(
        None, pattern="^https?://", description="base URL of the server that openai_speech asks"
    )
    speech_dialect: Literal[
        "openai", "emotivoice", "vllm_omni", "kokoro", "index_tts_vllm", "speaches"
    ] = Field("openai", description="which server that is")
    speech_model: str = Field("", description="model to ask it for; the dialect's own if empty")
    speech_voices: str = Field("", description="its voices; those it tells if empty")
    speech_format: Literal["wav", "pcm"] = Field(
        "wav", description="what it is asked for; pcm for samples without a header"
    )
    speech_rate: int = Field(
        24_000, ge=8_000, le=192_000, description="sample rate of samples without a header"
    )
    speech_api_key: SecretStr | None = Field(None, description="its API key")
    speech_api_key_file: Path | None = Field(None, description="file with that key")
    sambert_url: str | None = Field(
        None, pattern="^https?://", description="address of a Sambert service; loaded here if none"
    )
    sambert_model: str = Field(
        "iic/speech_sambert-hifigan_tts_zh-cn_16k", description="model to load here"
    )
    sambert_voices: str = Field(
        "zhiyan_emo,zhibei_emo,zhizhe_emo,zhitian_emo", description="the service's own voice names"
    )
    sambert_text_field: str = Field("text", description="where the service takes the text")
    sambert_voice_field: str = Field("voice", description="where it takes the voice's name")
    sambert_audio_field: str = Field(
        "audio", description="where its audio is, if it answers in JSON; dots between names"
    )
    remote_timeout_seconds: float = Field(
        50, gt=0, description="longest answer of a server that an engine asks"
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on")

    instance: str | None = Field(
        None,
        pattern=INSTANCE_PATTERN,
        description="name of this service among several, in each of its lines; if not set, "
        "HOST:PORT, with the machine's name where it listens on all addresses",
    )
    log_dir: Path = Field(Path("logs"), description="folder of the JSON lines")
    other_log_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="log folders of other services, or folders of such, where requests are looked "
        "up and counted as well, comma-separated",
    )
    log_keep_days: int = Field(KEEP_DAYS, ge=7, description="days that log files are kept")
    log_stdout: bool = Field(True, description="write the same lines to stdout")
    hash_key: SecretStr | None = Field(
        None,
        description="key of the text hashes; if not set, one is made and kept in the output folder",
    )

    output_dir: Path = Field(Path("outputs"), description="folder of the audio files")
    output_keep_hours: float = Field(24, gt=0, description="hours that audio files are kept")

    output_max_mb: float = Field(
        10_000, ge=0, description="audio files that may lie there, oldest go first (0 = any)"
    )
    result_cache_mb: float = Field(
        default_factory=lambda given: RESULT_CACHE_MB.get(given.get("engine", ""), 64.0),
        ge=0,
        description="memory for results that are served again (0 = none are)",
    )
    result_cache_disk_mb: float = Field(
        1_000, ge=0, description="files of such results below the output folder (0 = none)"
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis where several services share them, as redis://HOST:6379/0"
    )
    min_free_mb: float = Field(
        200, ge=0, description="free space below which nothing is made (0 = try in any case)"
    )

    max_text_chars: int = Field(
        500, ge=1, le=5000, description="longest text that an engine is asked at once"
    )
    max_long_text_chars: int = Field(
        10_000,
        ge=0,
        le=100_000,
        description="longest text of one request, made piece by piece (0 = as the one above)",
    )
    batch_dir: Path = Field(Path("batches"), description="folder of the batches")
    max_batch_rows: int = Field(5_000, ge=1, le=100_000, description="rows of one batch")
    max_batches: int = Field(20, ge=1, le=1_000, description="batches that are not finished")
    batch_max_mb: float = Field(
        20_000, ge=0, description="audio of batches that is kept (0 = any amount)"
    )
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
        description="whether workers are restarted for their memory or their failures, or it is "
        "only logged",
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
        None,
        pattern="^https?://",
        description="Loki that /operations asks beside the log files, and scripts ask with "
        "--source loki",
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

    api_keys_file: Path | None = Field(
        None,
        description="file of API keys by their hashes, see scripts/api_key.py; with it, whoever "
        "asks for speech needs one",
    )
    api_keys: SecretStr | None = Field(
        None, description="the same in a variable: NAME:sha256:HEX, comma-separated"
    )
    api_key: SecretStr | None = Field(
        None, description="key that the scripts here (canary, health check) send to the service"
    )
    max_per_client: int = Field(
        16, ge=0, le=10_000, description="requests at a time of one API key or address (0 = any)"
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
        description="reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed",
    )
    openai_voices: Annotated[Mapping[str, str], NoDecode] = Field(
        default_factory=dict,
        description="names that clients of /v1 may use for speakers, as alloy=espeak-f2,nova=...; "
        "if not set, OpenAI's own names mean the first speaker",
    )

    max_connections: int = Field(
        4_000, ge=16, le=100_000, description="connections at a time; a quarter may be open pages"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins whose web pages may call the API, comma-separated"
    )
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

    def instance_name(self, port: int | None = None) -> str:
        """
        The name of this service in its lines: the one that is set, or where it listens.

        `port` is that of the listener, which a setting of 0 leaves open.
        """
        host = socket.gethostname() if self.host in ALL_ADDRESSES else self.host
        return self.instance or f"{f'[{host}]' if ':' in host else host}:{port or self.port}"

    @property
    def all_log_dirs(self) -> tuple[Path, ...]:
        """This service's log folder, and those of the others."""
        return (self.log_dir, *self.other_log_dirs)

    @property
    def longest_text_chars(self) -> int:
        """The characters that the text of one request may have."""
        return max(self.max_text_chars, self.max_long_text_chars)

    @field_validator("instance")
    @classmethod
    def _not_a_folder_of_ours(cls, value: str | None) -> str | None:
        # Fetched days lie in a folder of this name, beside which `archive` means something else.
        if value == ARCHIVE:
            raise ValueError(
                f"{ARCHIVE} is the folder of the archives in every log folder; choose another name"
            )
        return value

    @field_validator("cluster")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None or value == "auto":
            return value
        host, _, port = value.rpartition(":")
        if not re.fullmatch(r"[A-Za-z0-9._-]+", host) or not re.fullmatch(r"\d{1,5}", port):
            raise ValueError(
                "it must be auto (the Ray of this machine) or HOST:PORT of the head (head:6379); "
                "ray:// is not taken, because Ray's remote client cannot stream"
            )
        if not 1 <= int(port) <= 65_535:
            raise ValueError("its port must be from 1 to 65535")
        return value

    @field_validator("cluster_gpus")
    @classmethod
    def _share_or_whole(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("it must be a share of one GPU (0.5) or a whole number of them")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("it must begin with redis://, rediss:// or unix://")
        return value

    @field_validator("openai_voices", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if not all(name.strip() and speaker.strip() for name, _, speaker in pairs):
            raise ValueError("it must be NAME=SPEAKER, comma-separated")
        return {name.strip(): speaker.strip() for name, _, speaker in pairs}

    @field_validator("other_log_dirs", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part.strip()) for part in value.split(",") if part.strip())
        return value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("metrics_allow", "operations_allow", "trusted_proxies", mode="before")
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

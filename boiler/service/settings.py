"""What the service is told by its environment: ``BOILER_MODEL_DIR`` and the other ``BOILER_*`` variables.

=============================  ==========  =============================================================================
``BOILER_MODEL_DIR``           (needed)    the model directory, as `boiler index` printed it
``BOILER_WAV_DIR``             as indexed  the folder of sounds, for playing and drawing them
``BOILER_DEVICE``              cpu         where uploaded sounds are embedded: cpu, cuda, mps
``BOILER_ENGINE``              by size     the engine that answers, by name
``BOILER_API_KEYS``            none        ``scope:key`` by commas, scope read, feedback or admin; none: open to all
``BOILER_CORS_ORIGINS``        none        origins whose pages may ask, by commas; ``*`` is any
``BOILER_INSECURE``            0           1: serve other machines without keys, on purpose
``BOILER_MAX_K``               1000        neighbours one may ask for
``BOILER_MAX_BATCH``           32          queries in one request
``BOILER_MAX_BODY_BYTES``      1048576     a request's JSON
``BOILER_MAX_UPLOAD_BYTES``    52428800    an uploaded sound
``BOILER_MAX_UPLOAD_S``        600         its length when decoded
``BOILER_MAX_BODY_S``          60          time a client may take to send its request
``BOILER_MAX_REQUESTS``        64          requests worked on at once by a worker; more are told to come back
``BOILER_MAX_WAITING``         8           uploads that wait for their turn in a worker; more are told to come back
``BOILER_DECODER_WORKERS``     1           processes of each worker that decode uploads; two more read the collection
``BOILER_DECODE_TIMEOUT_S``    30          time that decoding an upload, or a piece of a sound, may take
``BOILER_REFRESH_S``           1           how often a new index is looked for
``BOILER_LOG``                 json        json or plain: one line per request; none: no such lines
``BOILER_METRICS``             1           0: no ``GET /metrics``
``BOILER_METRICS_DIR``         none        an empty folder by which several workers tell of all of them
=============================  ==========  =============================================================================
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from boiler.errors import SettingsError

PREFIX = "BOILER_"

Scope = Literal["read", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "feedback", "admin")  # each may do what those before it may


class Settings(BaseSettings):
    """The settings of one service, checked and frozen. Made by `load`, or directly with values in a test."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    model_dir: Path
    wav_dir: Path | None = None
    device: str = "cpu"
    engine: str | None = None
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    insecure: bool = False
    max_k: int = Field(1_000, ge=1)
    max_batch: int = Field(32, ge=1)
    max_body_bytes: int = Field(2**20, ge=1_024)
    max_upload_bytes: int = Field(50 * 2**20, ge=1_024)
    max_upload_s: float = Field(600.0, gt=0)
    max_body_s: float = Field(60.0, gt=0)
    max_requests: int = Field(64, ge=1)
    max_waiting: int = Field(8, ge=0)
    decoder_workers: int = Field(1, ge=1)
    decode_timeout_s: float = Field(30.0, gt=0)
    refresh_s: float = Field(1.0, gt=0, le=2.0)  # a new index is served within 2 s
    log: Literal["json", "plain", "none"] = "json"
    metrics: bool = True
    metrics_dir: Path | None = None

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _by_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("wav_dir", "metrics_dir")
    @classmethod
    def _a_folder(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        return folder

    @field_validator("api_keys")
    @classmethod
    def _with_scope(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            scope, colon, secret = key.get_secret_value().partition(":")
            if not colon or scope not in SCOPES:
                raise ValueError(f"each key is written scope:key, the scope one of {', '.join(SCOPES)}")
            if len(secret) < 16 or not secret.isascii() or not secret.isprintable():
                raise ValueError("a key has 16 plain characters or more")
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and (not origin.startswith(("http://", "https://")) or origin.count("/") != 2):
                raise ValueError(f"an origin is like https://example.org, without a path; got {origin!r}")
        return origins


def load() -> Settings:
    """The settings that the environment gives.

    Raises:
        SettingsError: a variable is missing, wrong, or looks like a known one misspelt
    """
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for name in sorted(os.environ.keys() - set(known)):
        if name.startswith(PREFIX) and (near := difflib.get_close_matches(name, known, n=1, cutoff=0.85)):
            raise SettingsError(f"{name} is not a setting; did you mean {near[0]}?")
    if not os.environ.get(f"{PREFIX}MODEL_DIR"):
        raise SettingsError(
            f"{PREFIX}MODEL_DIR is not set. Set it to a model directory, as in the line that `boiler index` printed: "
            f"export {PREFIX}MODEL_DIR=exp/NAME/vqvae_NNN/ENCODER"
        )
    try:
        return Settings()  # type: ignore[call-arg]  # model_dir comes from the environment
    except ValidationError as error:
        # The value is not repeated: it could be a key.
        wrong = [f"{PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors()]
        raise SettingsError("; ".join(wrong)) from None

"""The settings of the service, from environment variables: ``BOILER_MODEL_DIR`` and other ``BOILER_*`` variables.

=============================  ==========  =============================================================================
variable                       default     meaning
=============================  ==========  =============================================================================
``BOILER_MODEL_DIR``           (required)  the model directory, as printed by `boiler index`
``BOILER_WAV_DIR``             as indexed  the folder of sounds, to play and draw them
``BOILER_DEVICE``              cpu         device on which uploads are embedded: cpu, cuda, mps
``BOILER_ENGINE``              by size     name of the search engine
``BOILER_IMAGE_MODEL``         as fetched  the network that names what pictures show, of `boiler encoders add`
``BOILER_API_KEYS``            none        comma-separated ``scope:key``; scopes: read, feedback, admin
``BOILER_CORS_ORIGINS``        none        comma-separated origins that browsers may call from; ``*`` allows any
``BOILER_INSECURE``            0           1: allow other machines without API keys
``BOILER_ROOT_PATH``           none        prefix under which a proxy serves the API, such as /api
``BOILER_ALLOWED_HOSTS``       any         comma-separated host names; requests for others get 421 (DNS rebinding)
``BOILER_FEEDBACK_URL``        a file      PostgreSQL database of likes and dislikes, such as postgresql://user@host/name
``BOILER_MAX_FEEDBACK``        1000000     judgements that are stored
``BOILER_MAX_FEEDBACK_BYTES``  1073741824  size of the file, or of the table, with them
``BOILER_MAX_K``               1000        largest k of a request
``BOILER_MAX_BATCH``           32          queries in one batch
``BOILER_MAX_BODY_BYTES``      1048576     size of a JSON body
``BOILER_MAX_UPLOAD_BYTES``    52428800    size of an upload
``BOILER_MAX_UPLOAD_S``        600         duration of an upload, decoded
``BOILER_MAX_BODY_S``          60          time for a client to send its body
``BOILER_MAX_REQUESTS``        64          requests in progress per worker; more get 503
``BOILER_MAX_REQUESTS_PER_CLIENT``   48    the same, of one client: an address, and its key where keys are required
``BOILER_MAX_QUEUED``          64          searches, beyond the smallest, that wait per worker; more get 503
``BOILER_MAX_QUEUE_S``         30          time that such a search may wait
``BOILER_TRUSTED_PROXIES``     none        comma-separated addresses of proxies whose X-Forwarded-For names the client
``BOILER_MAX_RECEIVING``       128         incomplete bodies per worker; beyond that the oldest gets 503
``BOILER_MAX_RECEIVING_PER_CLIENT``  32    the same, of one address
``BOILER_MAX_WAITING``         8           uploads, or long searches, that wait per worker; more get 503
``BOILER_DECODER_WORKERS``     1           processes per worker that decode uploads; two more decode indexed sounds
``BOILER_DECODE_TIMEOUT_S``    30          time to decode an upload, or one block of an indexed sound
``BOILER_LINKS``               0           1: fetch sounds from links to public addresses (``POST /identify/link``)
``BOILER_LINKS_PRIVATE``       0           1: also from this machine and private networks, which links may then probe
``BOILER_MAX_LINK_S``          60          time to fetch a link; its size is bounded as that of an upload
``BOILER_REFRESH_S``           1           interval between checks for a new index, at most 2
``BOILER_LOG``                 json        access log: json, plain or none
``BOILER_METRICS``             1           0: no ``GET /metrics``
``BOILER_METRICS_DIR``         none        an empty folder in which several workers share their metrics
=============================  ==========  =============================================================================
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from boiler.catalog.folder import open_folder
from boiler.errors import SettingsError

PREFIX = "BOILER_"

KeyScope = Literal["read", "feedback", "admin"]
SCOPES: tuple[KeyScope, ...] = ("read", "feedback", "admin")  # each includes those before it


class Settings(BaseSettings):
    """The settings of one service, validated and frozen. `load` reads them from the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    model_dir: Path
    wav_dir: str | None = None
    device: str = "cpu"
    engine: str | None = None
    image_model: Path | None = None
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    insecure: bool = False
    root_path: str = ""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    feedback_url: SecretStr | None = None
    max_feedback: int = Field(1_000_000, ge=0)
    max_feedback_bytes: int = Field(2**30, ge=0)
    max_k: int = Field(1_000, ge=1)
    max_batch: int = Field(32, ge=1)
    max_body_bytes: int = Field(2**20, ge=1_024)
    max_upload_bytes: int = Field(50 * 2**20, ge=1_024)
    max_upload_s: float = Field(600.0, gt=0)
    max_body_s: float = Field(60.0, gt=0)
    max_requests: int = Field(64, ge=1)
    max_requests_per_client: int = Field(48, ge=1)
    max_queued: int = Field(64, ge=0)
    max_queue_s: float = Field(30.0, gt=0)
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    max_receiving: int = Field(128, ge=1)
    max_receiving_per_client: int = Field(32, ge=1)
    max_waiting: int = Field(8, ge=0)
    decoder_workers: int = Field(1, ge=1)
    decode_timeout_s: float = Field(30.0, gt=0)
    links: bool = False
    links_private: bool = False
    max_link_s: float = Field(60.0, gt=0)
    refresh_s: float = Field(1.0, gt=0, le=2.0)  # promised: a new index is served within 2 s
    log: Literal["json", "plain", "none"] = "json"
    metrics: bool = True
    metrics_dir: Path | None = None

    @field_validator("api_keys", "cors_origins", "trusted_proxies", "allowed_hosts", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("wav_dir", "metrics_dir")
    @classmethod
    def _require_folder(cls, folder: str | Path | None) -> str | Path | None:
        if folder is not None and not open_folder(folder).is_here():
            raise ValueError(f"{folder} is not a folder")
        return folder

    @field_validator("wav_dir", mode="before")
    @classmethod
    def _as_text(cls, folder: str | Path | None) -> str | None:
        return None if folder is None else str(folder)

    @field_validator("api_keys")
    @classmethod
    def _require_scoped_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            scope, colon, secret = key.get_secret_value().partition(":")
            if not colon or scope not in SCOPES:
                raise ValueError(f"each key has the form scope:key, with a scope of {', '.join(SCOPES)}")
            if len(secret) < 16 or not secret.isascii() or not secret.isprintable():
                raise ValueError("a key has at least 16 printable ASCII characters")
        return keys

    @field_validator("root_path")
    @classmethod
    def _require_prefix(cls, prefix: str) -> str:
        prefix = prefix.rstrip("/")
        if prefix and (not prefix.startswith("/") or "?" in prefix or "#" in prefix):
            raise ValueError(f"a root path begins with /, like /api; got {prefix!r}")
        return prefix

    @field_validator("trusted_proxies")
    @classmethod
    def _require_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            if proxy != "*":
                try:
                    ipaddress.ip_network(proxy, strict=False)
                except ValueError:
                    raise ValueError(f"a proxy is an address, a network like 10.0.0.0/8, or *; got {proxy!r}") from None
        return proxies

    @field_validator("cors_origins")
    @classmethod
    def _require_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and (not origin.startswith(("http://", "https://")) or origin.count("/") != 2):
                raise ValueError(f"an origin has the form https://example.org, without a path; got {origin!r}")
        return origins


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a variable is missing, has a wrong value, or looks like a misspelt name
    """
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for name in sorted(os.environ.keys() - set(known)):
        if name.startswith(PREFIX) and (near := difflib.get_close_matches(name, known, n=1, cutoff=0.85)):
            raise SettingsError(f"{name} is not a setting; did you mean {near[0]}?")
    if not os.environ.get(f"{PREFIX}MODEL_DIR"):
        raise SettingsError(
            f"{PREFIX}MODEL_DIR is not set. Set it to a model directory, as in the line that `boiler index` prints: "
            f"export {PREFIX}MODEL_DIR=exp/NAME/vqvae_NNN/ENCODER"
        )
    try:
        return Settings()  # type: ignore[call-arg]  # model_dir is read from the environment
    except ValidationError as error:
        # Without the value: it may be a key.
        wrong = [f"{PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors()]
        raise SettingsError("; ".join(wrong)) from None

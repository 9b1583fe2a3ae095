"""The exceptions of boiler. A message says what is wrong, where, and what to do about it. ::

    BoilerError
    ├── SoundError            a sound cannot be used                  (path, reason)
    │   ├── NotASoundError    empty, mis-named, damaged, or no audio in it
    │   ├── SoundLimitError   longer, wider or faster than the limits allow
    │   │   └── ExhaustedError  time or memory ran out while it was decoded; it may work another time
    │   └── SilentSoundError  silent throughout: there is nothing to compare
    ├── EmbeddingError        samples or pixels that cannot be embedded: empty, of a wrong shape, rate or kind
    ├── CheckpointError       not a checkpoint or encoder of boiler, or of another version
    ├── ModelDirError         a model directory cannot be used: nothing published, or of another version or encoder
    │   └── DamagedIndexError  a published index lacks a file, or its bytes are not those that were published
    ├── CatalogError          the catalog is locked, or too many files are gone
    │   └── DamagedCatalogError  the catalog is damaged or missing: it can be rebuilt from the index
    ├── CorpusError           a folder of sounds or a data set is missing, empty or laid out otherwise
    ├── QueryError            an invalid query: wrong length, NaN, k out of range
    │   ├── UnknownItemError  no such item in this index
    │   ├── WrongEncoderError a vector of another encoder than that of the index
    │   ├── SoundNotHereError the folder of the sounds, or one of its files, is missing
    │   └── FeedbackError     feedback cannot be read or stored
    ├── LinkError             a link cannot be fetched: not public, too large, too slow, or no sound
    ├── ClusterError          other processes of distributed work cannot be reached, or have ended
    ├── SettingsError         a setting is missing or invalid
    ├── EngineError           not a search engine, or an option of one has a wrong value
    └── UnknownNameError      a name (encoder, engine, corpus, setting) that is not in its table

``slug`` is the stable machine-readable name; the problem types of the HTTP service are made from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

from boiler.deprecated import module_getattr


class BoilerError(Exception):
    """Base class of all exceptions that boiler raises on purpose."""

    slug: ClassVar[str] = "boiler-error"


class SoundError(BoilerError):
    """A sound cannot be used. ``path`` names the sound, ``reason`` says why; both are plain text."""

    slug = "sound-error"

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(path, reason)  # both, so that the error survives pickling between processes

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class NotASoundError(SoundError):
    """An empty or damaged file, or one without audio."""

    slug = "not-a-sound"


class SoundLimitError(SoundError):
    """The duration, channels, sample rate or decoding time exceed the limits."""

    slug = "sound-limit"


class ExhaustedError(SoundLimitError):
    """Time or memory ran out during decoding. On a busy machine this happens to good sounds, too."""

    slug = "exhausted"


class SilentSoundError(SoundError):
    """A silent sound: it has no neighbours."""

    slug = "silent-sound"


class EmbeddingError(BoilerError):
    """Samples, pixels or settings that cannot be embedded as given."""

    slug = "embedding-error"


class CheckpointError(BoilerError):
    """Not a checkpoint or encoder of boiler, damaged, or of another version."""

    slug = "checkpoint-error"


class ModelDirError(BoilerError):
    """A model directory lacks a file, is damaged, or belongs to another version or encoder."""

    slug = "model-dir-error"


class DamagedIndexError(ModelDirError):
    """A published index lacks a file, or its bytes are not those that were published."""

    slug = "damaged-index"


class CatalogError(BoilerError):
    """The catalog is locked, damaged or of another version, or too many files are gone."""

    slug = "catalog-error"


class DamagedCatalogError(CatalogError):
    """The catalog is damaged, or missing beside an index."""

    slug = "damaged-catalog"


class CorpusError(BoilerError):
    """A folder of sounds or a data set is missing, empty or not laid out as published."""

    slug = "corpus-error"


class QueryError(BoilerError):
    """An invalid query."""

    slug = "query-error"


class UnknownItemError(QueryError):
    """No item of that id or number in this index."""

    slug = "unknown-item"


class WrongEncoderError(QueryError):
    """A vector of another encoder than that of the index; the message names both."""

    slug = "wrong-encoder"


class SoundNotHereError(QueryError):
    """The folder of the sounds is missing, or a sound is no longer in it."""

    slug = "no-sound"


class FeedbackError(QueryError):
    """Feedback cannot be read or stored."""

    slug = "feedback-error"


class LinkError(BoilerError):
    """A link is invalid, leads to an address that is not public, or to a file that cannot be fetched."""

    slug = "link-error"


class ClusterError(BoilerError):
    """Processes that work together with this one cannot be reached, or have ended; what they had finished is kept."""

    slug = "cluster-error"


class SettingsError(BoilerError):
    """A setting is missing or invalid; the message names it."""

    slug = "settings-error"


class EngineError(BoilerError):
    """Not a search engine, or an option of one has a wrong value."""

    slug = "engine-error"


class UnknownNameError(BoilerError, LookupError):
    """A name that is not known; the message lists those that are.

    >>> raise UnknownNameError("encoder", "BagTop", ["BagTopVQVAE"])
    Traceback (most recent call last):
    ...
    boiler.errors.UnknownNameError: no encoder is called 'BagTop'; did you mean 'BagTopVQVAE'? Known: BagTopVQVAE
    """

    slug = "unknown-name"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = sorted(known)
        super().__init__(kind, name, self.known)

    def __str__(self) -> str:
        near = difflib.get_close_matches(self.name, self.known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        return f"no {self.kind} is called '{self.name}'{hint} Known: {', '.join(self.known) or 'none'}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


__getattr__ = module_getattr(__name__, {"CatalogueError": "CatalogError"})

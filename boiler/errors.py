"""Everything that boiler refuses, by name.

A message says what is wrong, where, and what to do about it. ::

    BoilerError
    ├── SoundError            a sound cannot be used                  (path, reason)
    │   ├── NotASoundError    empty, mis-named, damaged, or no audio in it
    │   ├── SoundLimitError   longer, wider or faster than the limits allow
    │   │   └── ExhaustedError  time or memory ran out while it was decoded; another time it may do
    │   └── SilentSoundError  nothing but silence: there is nothing to compare
    ├── EmbeddingError        samples or pixels that cannot be embedded: empty, of a wrong shape, rate or kind
    ├── CheckpointError       not a checkpoint or encoder of ours, or of another version
    ├── ModelDirError         a model directory lacks a file, is damaged, or is of another version
    ├── CatalogError          the catalog is locked, damaged, or a sync was refused
    ├── CorpusError           a known data set is not at the place named, or not laid out as it should be
    ├── QueryError            a question that cannot be answered: wrong length, NaN, k out of range
    │   ├── UnknownItemError  no such item in this index
    │   ├── SoundNotHereError the folder of the sounds, or one of its files, is not here
    │   └── FeedbackError     judgements cannot be read or kept: the file is damaged, or cannot be written
    ├── SettingsError         a BOILER_* variable is missing or wrong
    ├── EngineError           not a search engine, or an option of one has a wrong value
    └── UnknownNameError      a name (encoder, engine, corpus, setting) that is not in its table

``slug`` is the stable machine name of each; the service makes its problem types of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

from boiler.deprecated import module_getattr


class BoilerError(Exception):
    """The root: catch this to catch all that boiler raises on purpose."""

    slug: ClassVar[str] = "boiler-error"


class SoundError(BoilerError):
    """A sound cannot be used. ``path`` is how the sound was named, ``reason`` why, both plain text."""

    slug = "sound-error"

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(path, reason)  # both, so that the error survives pickling between processes

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class NotASoundError(SoundError):
    """Empty, mis-named, damaged beyond reading, or a file without audio."""

    slug = "not-a-sound"


class SoundLimitError(SoundError):
    """More seconds, channels, samples a second or working time than the limits allow."""

    slug = "sound-limit"


class ExhaustedError(SoundLimitError):
    """Time or memory ran out while it was decoded. Unlike the others, this may be no fault of the sound's: on a busy
    machine a good one is met by it, too."""

    slug = "exhausted"


class SilentSoundError(SoundError):
    """All silence: it has no neighbours."""

    slug = "silent-sound"


class EmbeddingError(BoilerError):
    """Samples, pixels or settings that cannot be embedded as given."""

    slug = "embedding-error"


class CheckpointError(BoilerError):
    """Not a checkpoint or encoder of ours, damaged, or of another version."""

    slug = "checkpoint-error"


class ModelDirError(BoilerError):
    """A model directory that lacks a file, is damaged, or belongs to another version or encoder."""

    slug = "model-dir-error"


class CatalogError(BoilerError):
    """The catalog is in use, damaged, of another version, or a sync was refused."""

    slug = "catalog-error"


class CorpusError(BoilerError):
    """A known data set is not there, or not laid out as published."""

    slug = "corpus-error"


class QueryError(BoilerError):
    """A question that cannot be answered as asked."""

    slug = "query-error"


class UnknownItemError(QueryError):
    """No item of that id or number in this index."""

    slug = "unknown-item"


class SoundNotHereError(QueryError):
    """The folder of the sounds is not here, or a sound is not in it any more."""

    slug = "no-sound"


class FeedbackError(QueryError):
    """Judgements cannot be read or kept."""

    slug = "feedback-error"


class SettingsError(BoilerError):
    """A setting of the service is missing or wrong; the message names the variable."""

    slug = "settings-error"


class EngineError(BoilerError):
    """Not a search engine, or an option of one has a wrong value."""

    slug = "engine-error"


class UnknownNameError(BoilerError, LookupError):
    """A name that is not in its table; the message lists those that are.

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
    """The first line of an error's message, or the name of its type where the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


__getattr__ = module_getattr(__name__, {"CatalogueError": "CatalogError"})

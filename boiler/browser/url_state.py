"""The state of the search and path pages, kept in the URL: a link reopens the same view, and the Back button works.

======================  ===============================================================================================
``item``                query: number of an item of the index
``upload``              query: key of an uploaded sound (kept by the process for a while)
``picture``             query: key of an uploaded picture, kept likewise
``from``, ``to``        query with this part of the sound only, seconds
``like``, ``dislike``   numbers of items that the results move towards, or away from
``find``                part of a file name: lists the items that have it in their name
``browse``              folder whose items are listed (``/`` is the top)
``label``, ``folder``   only results with this label, in this folder or below it
``tag``                 only results that have this tag, by a person or else by the model
``min_s``, ``max_s``    only results of at least, at most this duration in seconds
``where``               only results that pass this condition (`boiler.search.filter_parser`)
``diversity``           0 to 100: how much each result should differ from those before it
``per_group``           the maximum number of results per value of ``group_by``, which is ``label`` or ``folder``
``dedup``               0: near-duplicates are not merged
``csls``                1: results that are near to everything (hubs) are ranked lower
``feedback``            1: stored likes and dislikes count
``k``                   number of results
``explain``             number of the result that is explained
``history``             numbers of the items queried before, oldest first
``start``, ``end``      path page: numbers of the two items
``steps``               path page: number of sounds between them
``index``               key of the index (where the browser was started without one)
======================  ===============================================================================================

Anyone can type a URL: a value that cannot be parsed is replaced by the default and never raises; the page shows those
that `invalid_params` returns. `ALIASES` are the parameter names of earlier versions; they are read, never written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

PAGE_SIZE = 12  # results shown at first, and added by each "Show more"
MAX_RESULTS = 240
MAX_HISTORY = 12  # a URL has to stay short enough to be sent
MAX_FEEDBACK_ITEMS = 24
DEFAULT_STEPS, MAX_STEPS = 6, 30

ALIASES = {
    "sound": "upload",
    "more": "like",
    "less": "dislike",
    "in": "browse",
    "short": "min_s",
    "long": "max_s",
    "vary": "diversity",
    "most": "per_group",
    "by": "group_by",
    "fold": "dedup",
    "hubs": "csls",
    "heed": "feedback",
    "why": "explain",
    "trail": "history",
    "library": "index",
}
"""Deprecated parameter names, each with the current one."""


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def _numbers(text: str) -> tuple[int, ...] | None:
    numbers = [_number(word) for word in text.replace(",", ".").split(".")]
    return tuple(dict.fromkeys(n for n in numbers if n is not None)) or None


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value < 1e7 else None  # false for nan, too


def _flag(text: str) -> bool | None:
    return {"0": False, "1": True}.get(text)


def _text(text: str) -> str | None:
    return text[:1_000] or None


_PARSERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("item", "diversity", "per_group", "k", "explain", "start", "end", "steps"), _number),
    **dict.fromkeys(("like", "dislike", "history"), _numbers),
    **dict.fromkeys(("from", "to", "min_s", "max_s"), _seconds),
    **dict.fromkeys(("dedup", "csls", "feedback"), _flag),
    **dict.fromkeys(("upload", "picture", "find", "browse", "label", "folder", "tag", "where", "index"), _text),
    "group_by": lambda text: text if text in ("label", "folder") else None,
}


def current_params(params: Mapping[str, str]) -> dict[str, str]:
    """The parameters under their current names. Where a URL has both names, the current one counts."""
    renamed = {ALIASES[name]: params[name] for name in params if name in ALIASES}
    return renamed | {name: params[name] for name in params if name not in ALIASES}


def invalid_params(params: Mapping[str, str]) -> dict[str, str]:
    """The parameters that cannot be parsed: name, as in the URL, to value.

    >>> invalid_params({"item": "abc", "vary": "30", "why": "x"})
    {'item': 'abc', 'why': 'x'}
    """
    known = {name: ALIASES.get(name, name) for name in params}
    return {
        name: params[name]
        for name, current in known.items()
        if params[name] and current in _PARSERS and _PARSERS[current](params[name]) is None
    }


def _parsed(params: Mapping[str, str]) -> dict[str, Any]:
    current = current_params(params)
    return {name: parse(current[name]) for name, parse in _PARSERS.items() if name in current}


@dataclass(frozen=True)
class Refinement:
    """Filters and ranking options of a search, independent of the query: the fields of the "Refine" form."""

    label: str | None = None
    folder: str | None = None
    tag: str | None = None
    min_s: float | None = None
    max_s: float | None = None
    where: str = ""
    diversity: int = 0
    per_group: int = 0
    group_by: str = "label"
    dedup: bool = True
    csls: bool = False
    feedback: bool = False

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> Refinement:
        """The refinement in the parameters of a URL."""
        value = _parsed(params)
        return cls(
            label=value.get("label"),
            folder=value.get("folder"),
            tag=value.get("tag"),
            min_s=value.get("min_s") or None,
            max_s=value.get("max_s") or None,
            where=(value.get("where") or "").strip(),
            diversity=min(value.get("diversity") or 0, 100),
            per_group=min(value.get("per_group") or 0, 100),
            group_by=value.get("group_by") or "label",
            dedup=value.get("dedup") is not False,
            csls=value.get("csls") is True,
            feedback=value.get("feedback") is True,
        )

    def to_params(self) -> dict[str, str | None]:
        """The parameters of a URL; None for fields at their default."""
        return {
            "label": self.label,
            "folder": self.folder,
            "tag": self.tag,
            "min_s": _seconds_text(self.min_s),
            "max_s": _seconds_text(self.max_s),
            "where": self.where,
            "diversity": str(self.diversity) if self.diversity else None,
            "per_group": str(self.per_group) if self.per_group else None,
            "group_by": "folder" if self.group_by == "folder" else None,
            "dedup": None if self.dedup else "0",
            "csls": "1" if self.csls else None,
            "feedback": "1" if self.feedback else None,
        }

    @property
    def n_changed(self) -> int:
        """How many fields are not at their default."""
        filters = sum(map(bool, (self.label, self.folder, self.tag, self.min_s, self.max_s, self.where)))
        return filters + sum((self.diversity > 0, self.per_group > 0, not self.dedup, self.csls, self.feedback))


@dataclass(frozen=True)
class SearchState:
    """One view of the search page. Immutable: methods that change something return a new state."""

    item: int | None = None
    upload: str | None = None
    picture: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()
    find: str = ""
    browse: str | None = None
    explain: int | None = None
    refinement: Refinement = Refinement()
    k: int = PAGE_SIZE
    history: tuple[int, ...] = ()
    index: str | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> SearchState:
        """The state in the parameters of a URL; what cannot be read is left at its default.

        >>> state = SearchState.from_params({"item": "7", "from": "1.5", "to": "4", "k": "many", "dislike": "3.x.9"})
        >>> state.item, state.start_s, state.end_s, state.k, state.disliked
        (7, 1.5, 4.0, 12, (3, 9))
        """
        value = _parsed(params)
        item, start_s, end_s = value.get("item"), value.get("from"), value.get("to")
        upload = value.get("upload") if item is None else None
        picture = value.get("picture") if item is None and upload is None else None
        if (item is None and upload is None) or start_s is None or end_s is None or end_s <= start_s:
            start_s = end_s = None
        liked = (value.get("like") or ())[-MAX_FEEDBACK_ITEMS:]
        disliked = (value.get("dislike") or ())[-MAX_FEEDBACK_ITEMS:]
        browse = value.get("browse")
        k = value.get("k")
        return cls(
            item=item,
            upload=upload,
            picture=picture,
            start_s=start_s,
            end_s=end_s,
            liked=liked,
            disliked=tuple(n for n in disliked if n not in liked),
            find=(value.get("find") or "")[:200],
            browse=None if browse is None else browse.strip("/"),
            explain=value.get("explain"),
            refinement=Refinement.from_params(params),
            k=PAGE_SIZE if k is None else min(max(k, 1), MAX_RESULTS),
            history=(value.get("history") or ())[-MAX_HISTORY:],
            index=value.get("index"),
        )

    def to_params(self) -> dict[str, str]:
        """The parameters of the URL, without those at their default.

        >>> SearchState(item=7, k=24, history=(1, 2)).to_params()
        {'item': '7', 'k': '24', 'history': '1.2'}
        """
        params = {
            "item": None if self.item is None else str(self.item),
            "upload": self.upload,
            "picture": self.picture,
            "from": _seconds_text(self.start_s),
            "to": _seconds_text(self.end_s),
            "like": _numbers_text(self.liked),
            "dislike": _numbers_text(self.disliked),
            "find": self.find,
            "browse": None if self.browse is None else self.browse or "/",
            "explain": None if self.explain is None else str(self.explain),
            **self.refinement.to_params(),
            "k": None if self.k == PAGE_SIZE else str(self.k),
            "history": _numbers_text(self.history),
            "index": self.index,
        }
        return {name: text for name, text in params.items() if text}

    @property
    def has_query(self) -> bool:
        """Whether there is a query: an item, an upload or likes."""
        return not (self.item is None and self.upload is None and self.picture is None) or bool(self.liked)

    def query_item(self, n: int) -> SearchState:
        """Search with this item; the previous item is added to the history. The refinement is kept; likes and dislikes
        are not, because they belong to the previous query."""
        if n == self.item and self.start_s is None:
            return self
        history = self._history()
        if n in history:  # back to an earlier query: what came after it is forgotten
            history = history[: history.index(n)]
        return replace(self._new_query(), item=n, history=tuple(one for one in history if one != n)[-MAX_HISTORY:])

    def query_upload(self, key: str) -> SearchState:
        """Search with an uploaded sound."""
        return replace(self._new_query(), upload=key, history=self._history()[-MAX_HISTORY:])

    def query_picture(self, key: str) -> SearchState:
        """Search with an uploaded picture."""
        return replace(self._new_query(), picture=key, history=self._history()[-MAX_HISTORY:])

    def query_part(self, start_s: float, end_s: float) -> SearchState:
        """Search with this part of the same sound."""
        return replace(self, start_s=start_s, end_s=end_s, k=PAGE_SIZE, explain=None)

    def query_whole(self) -> SearchState:
        """Search with the whole sound again."""
        return replace(self, start_s=None, end_s=None, explain=None)

    def toggle_like(self, n: int) -> SearchState:
        """Like this item, which moves the results towards it, or undo that."""
        liked = _without(self.liked, n) if n in self.liked else (*self.liked, n)[-MAX_FEEDBACK_ITEMS:]
        return replace(self, liked=liked, disliked=_without(self.disliked, n))

    def toggle_dislike(self, n: int) -> SearchState:
        """Dislike this item, which removes it and moves the results away from it, or undo that."""
        disliked = _without(self.disliked, n) if n in self.disliked else (*self.disliked, n)[-MAX_FEEDBACK_ITEMS:]
        return replace(self, disliked=disliked, liked=_without(self.liked, n))

    def toggle_explanation(self, n: int) -> SearchState:
        """Explain this result, or close its explanation."""
        return replace(self, explain=None if self.explain == n else n)

    def browse_folder(self, folder: str | None) -> SearchState:
        """List the items of a folder (\"\" is the top); None: close the list."""
        return replace(self._new_query(), browse=folder)

    def find_name(self, text: str) -> SearchState:
        """List the items with this in their file name."""
        return replace(self, find=text.strip()[:200], k=PAGE_SIZE)

    def show_more(self) -> SearchState:
        """Add one page of results."""
        return replace(self, k=min(self.k + PAGE_SIZE, MAX_RESULTS))

    def refined(self, refinement: Refinement) -> SearchState:
        """The same query with another refinement."""
        return replace(self, refinement=refinement, k=PAGE_SIZE)

    def toggle_tag(self, tag: str) -> SearchState:
        """Only items that have this tag, or all again."""
        return self.refined(replace(self.refinement, tag=None if self.refinement.tag == tag else tag))

    def start_page(self) -> SearchState:
        """No query: the start page of the same index."""
        return SearchState(index=self.index)

    def _history(self) -> tuple[int, ...]:
        return self.history if self.item is None else (*_without(self.history, self.item), self.item)

    def _new_query(self) -> SearchState:
        return SearchState(refinement=self.refinement, index=self.index, history=self.history)


@dataclass(frozen=True)
class PathState:
    """One view of the path page: the numbers of the two items, and the number of sounds between them."""

    start: int | None = None
    end: int | None = None
    steps: int = DEFAULT_STEPS
    index: str | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> PathState:
        """The state in the parameters of a URL; what cannot be read is left at its default.

        >>> PathState.from_params({"start": "3", "end": "x", "steps": "900"})
        PathState(start=3, end=None, steps=30, index=None)
        """
        value = _parsed(params)
        steps = min(max(value.get("steps") or DEFAULT_STEPS, 1), MAX_STEPS)
        return cls(value.get("start"), value.get("end"), steps, value.get("index"))

    def with_endpoint(self, endpoint: str, n: int) -> PathState:
        """The path with item `n` as its ``start`` or its ``end``."""
        return replace(self, start=n) if endpoint == "start" else replace(self, end=n)

    def swapped(self) -> PathState:
        """The path in the other direction."""
        return replace(self, start=self.end, end=self.start)

    def to_params(self) -> dict[str, str]:
        """The parameters of the URL, without those at their default."""
        steps = None if self.steps == DEFAULT_STEPS else self.steps
        params = {"start": self.start, "end": self.end, "steps": steps, "index": self.index}
        return {name: str(value) for name, value in params.items() if value is not None}


def _numbers_text(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))  # a full stop is the one separator that URLs show unescaped


def _seconds_text(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.2f}"


def _without(numbers: tuple[int, ...], one: int) -> tuple[int, ...]:
    return tuple(n for n in numbers if n != one)

"""A sound as a card: what the component of ``static/`` draws, plays and marks, and what a click on it means.

The component shows sounds as a ``grid``, as a ``list``, or one of them large (``one``). Sounds, waveforms and
spectrograms are fetched by the visitor's browser from the routes of `library`, when they come into sight; nothing of a
sound passes through the script.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlencode

import streamlit as st

from boiler.audio import stream
from boiler.browser.url_state import Question
from boiler.catalog.items import Item
from boiler.search.nearest import Match

Shape = Literal["grid", "list", "one"]
DRAWN_WHOLE_S = 60.0  # a longer sound is drawn around the part that counts
AROUND_S = 8.0
SUFFIXES = sorted(stream.SUFFIXES)

_FRONT = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Card:
    """One sound, as the component takes it. Seconds throughout; ``shown`` is what the waveform covers, ``match`` the
    part that matched (None: all of it), ``picked`` the part of it that is asked with, ``folded`` the
    ids of near-duplicates that it stands for."""

    key: str
    n: int
    id: str
    name: str
    folder: str
    label: str | None
    duration: float
    shown: tuple[float, float]
    match: tuple[float, float] | None
    start: float
    matched: str
    distance: str | None
    closer: str
    audio: str
    waveform: str
    spectrogram: str
    address: str
    actions: tuple[str, ...]
    like: bool = False
    dislike: bool = False
    keep: bool = False
    why: bool = False
    pictured: bool = False
    selectable: bool = False
    picked: tuple[float, float] | None = None
    folded: tuple[str, ...] = ()


def of_match(match: Match, item: Item, at: str, question: Question, kept: Iterable[int]) -> Card:
    """An answer. ``at`` is the address below which its sound is heard (`library.Library.sounds_at`)."""
    part = partial(match.start_s, match.end_s, item.duration_s)
    # Where only likes are asked with there is no one sound that it could be compared with, or come from.
    leading = ("why", "path") if question.item is not None else ("why",) if question.sound is not None else ()
    return _card(
        item,
        at,
        question,
        kept,
        match=part,
        matched="" if part is None else f"matched {seconds(part[0])} to {seconds(part[1])}",
        distance=f"{match.distance:.2f}",
        closer=closer(match.closer_than),
        actions=("ask", "like", "dislike", *leading, "picture", "keep"),
        folded=match.folded,
    )


def of_item(item: Item, at: str, question: Question, kept: Iterable[int]) -> Card:
    """A sound of the collection, not compared with anything."""
    return _card(item, at, question, kept, actions=("ask", "picture", "keep"))


def of_query(item: Item, at: str, question: Question, kept: Iterable[int]) -> Card:
    """The sound that is asked for, large, with its spectrogram, a part of it to be chosen."""
    picked = None if question.start_s is None or question.end_s is None else (question.start_s, question.end_s)
    actions = ("keep",) if question.sound is None else ()
    return _card(
        item, at, question, kept, actions=actions, around=picked, picked=picked, pictured=True, selectable=True
    )


def _card(
    item: Item,
    at: str,
    question: Question,
    kept: Iterable[int],
    *,
    match: tuple[float, float] | None = None,
    around: tuple[float, float] | None = None,
    matched: str = "",
    distance: str | None = None,
    closer: str = "",
    actions: tuple[str, ...],
    picked: tuple[float, float] | None = None,
    pictured: bool = False,
    selectable: bool = False,
    folded: tuple[str, ...] = (),
) -> Card:
    path = PurePosixPath(item.id)
    drawn = shown(item.duration_s, match or around)
    part = {} if drawn == (0.0, item.duration_s) else {"start_s": f"{drawn[0]:.3f}", "end_s": f"{drawn[1]:.3f}"}
    points = 1_200 if pictured else 320
    folder = "" if item.folder == item.label else item.folder
    return Card(
        key=f"{at}/{item.n}" + (f"@{match[0]:.2f}" if match else ""),
        n=item.n,
        id=item.id,
        name=path.name,
        folder=folder,
        label=item.label,
        duration=item.duration_s,
        shown=drawn,
        match=match,
        start=picked[0] if picked else 0.0,
        matched=matched,
        distance=distance,
        closer=closer,
        audio=f"{at}/{item.n}/audio",
        waveform=f"{at}/{item.n}/waveform?" + urlencode({"points": points, **part}),
        spectrogram=f"{at}/{item.n}/spectrogram.png?"
        + urlencode({"width": 1_200 if pictured else 400, "height": 150 if pictured else 72, **part}),
        address="?" + urlencode(question.ask(item.n).address(), safe=" /"),
        actions=actions,
        like=item.n in question.more,
        dislike=item.n in question.less,
        keep=item.n in kept,
        why=item.n == question.why,
        pictured=pictured,
        selectable=selectable,
        picked=picked,
        folded=folded,
    )


def show(
    cards: Iterable[Card],
    shape: Shape,
    key: str,
    on_act: Callable[[Mapping[str, Any]], None],
    *,
    title: str = "Sounds",
    heard_s: float | None = None,
) -> None:
    """Put the cards on the page. ``on_act`` is told what is wanted, as ``{"what": "ask", "n": 7}``; ``what`` is one of
    the card's actions, ``undo``, or ``part`` (with ``start`` and ``end``) or ``whole``. With ``heard_s`` there is a
    button to hear all in order, so much of each."""
    _component(
        key=key,
        data={"shape": shape, "title": title, "heard": heard_s, "cards": [asdict(card) for card in cards]},
        on_act_change=lambda: tell(key, on_act),
    )


def tell(key: str, on_act: Callable[[Mapping[str, Any]], None]) -> None:
    """Hand on what the component of that key said, where it makes sense: a page may say anything."""
    message = st.session_state[key].act
    if isinstance(message, Mapping) and isinstance(message.get("n"), int | float):
        on_act({**message, "n": int(message["n"])})


def shown(duration_s: float, part: tuple[float, float] | None) -> tuple[float, float]:
    """What a waveform covers: all of a short sound; of a long one the part and some of what is around it.

    >>> shown(5.0, (0.0, 5.0)), shown(600.0, (100.0, 108.0)), shown(600.0, None)
    ((0.0, 5.0), (92.0, 116.0), (0.0, 600.0))
    """
    if duration_s <= DRAWN_WHOLE_S or part is None:
        return 0.0, duration_s
    return max(0.0, part[0] - AROUND_S), min(duration_s, part[1] + AROUND_S)


def partial(start_s: float, end_s: float, duration_s: float) -> tuple[float, float] | None:
    """The part that matched, or None when it is the whole sound.

    >>> partial(0.0, 5.0, 5.0), partial(4.1, 12.3, 36.0)
    (None, (4.1, 12.3))
    """
    if start_s <= 0.05 and end_s >= duration_s - 0.05:
        return None
    return round(start_s, 3), round(min(end_s, duration_s), 3)


def closer(share: float) -> str:
    """How near that is for this collection. The share of random pairs that are farther, rounded down, so that it is
    never said to be nearer than it is.

    >>> closer(0.998), closer(0.5), closer(1.0), closer(0.9995)
    ('closer than 99.8 %', 'closer than 50 %', 'closer than 99.99 %', 'closer than 99.95 %')
    """
    percent = 100.0 * share + 1e-9
    digits = 0 if percent < 99.0 else 1 if percent < 99.9 else 2
    text = math.floor(percent * 10**digits) / 10**digits
    return f"closer than {min(text, 99.99):.{digits}f} %"


def seconds(value: float) -> str:
    """Seconds to be read: tenths below a minute, minutes above.

    >>> seconds(4.096), seconds(83.2), seconds(7_265)
    ('4.1 s', '1:23', '2:01:05')
    """
    if value < 60.0:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


_component = st.components.v2.component(
    "boiler_cards",
    html='<section class="cards"></section>',
    css=(_FRONT / "cards.css").read_text(encoding="utf-8"),
    js="\n".join(
        (_FRONT / name).read_text(encoding="utf-8") for name in ("element.js", "player.js", "waveform.js", "cards.js")
    ),
)

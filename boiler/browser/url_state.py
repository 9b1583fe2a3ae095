"""What is asked, as it stands in the address: a link reopens the same view, and Back goes back.

======================  ===============================================================================================
``item``                number of the item asked for
``sound``               key of a sound brought along (kept by the process for a while)
``from``, ``to``        the part of it that counts, seconds
``more``, ``less``      numbers of items that the answers should be nearer to, or farther from
``find``                a piece of a name: shows items, not neighbours
``in``                  a folder to look through: shows what lies in it (``/`` is the top)
``label``, ``folder``   only answers of this label, in this folder or below
``short``, ``long``     only answers of at least, at most so many seconds
``where``               only answers that pass this condition (`boiler.search.filter_parser`)
``vary``                0 to 100: how much an answer should be unlike those before it
``most``, ``by``        at most so many answers of one ``label`` or ``folder``
``fold``                0: near-duplicates are answers of their own
``hubs``                1: what is near to everything is set back
``heed``                1: likes and dislikes that were kept from earlier count
``k``                   how many answers
``why``                 number of the answer that is explained
``trail``               numbers of the items asked for before, oldest first
``library``             which of several indexes (where none was given when the browser was started)
======================  ===============================================================================================

An address can be typed by anyone, so what makes no sense in it is passed over, never an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

STEP = 12  # answers shown at first, and added by each "more"
MOST = 240
TRAIL = 12  # items of the trail kept; an address has to stay short enough to send
SEEDS = 24


@dataclass(frozen=True)
class Wish:
    """What the answers should be like, whatever is asked."""

    label: str | None = None
    folder: str | None = None
    short_s: float | None = None
    long_s: float | None = None
    where: str = ""
    vary: int = 0
    most: int = 0
    by: str = "label"
    fold: bool = True
    hubs: bool = False
    heed: bool = False

    @classmethod
    def of(cls, address: Mapping[str, str]) -> Wish:
        """The wish in an address."""
        return cls(
            label=address.get("label") or None,
            folder=address.get("folder") or None,
            short_s=_seconds(address.get("short")) or None,
            long_s=_seconds(address.get("long")) or None,
            where=address.get("where", "").strip()[:1_000],
            vary=min(_number(address.get("vary")) or 0, 100),
            most=min(_number(address.get("most")) or 0, 100),
            by="folder" if address.get("by") == "folder" else "label",
            fold=address.get("fold") != "0",
            hubs=address.get("hubs") == "1",
            heed=address.get("heed") == "1",
        )

    def address(self) -> dict[str, str | None]:
        """The same as words."""
        return {
            "label": self.label,
            "folder": self.folder,
            "short": _word(self.short_s),
            "long": _word(self.long_s),
            "where": self.where,
            "vary": str(self.vary) if self.vary else None,
            "most": str(self.most) if self.most else None,
            "by": "folder" if self.by == "folder" else None,
            "fold": None if self.fold else "0",
            "hubs": "1" if self.hubs else None,
            "heed": "1" if self.heed else None,
        }

    @property
    def filters(self) -> int:
        """How many conditions answers have to pass."""
        return sum(map(bool, (self.label, self.folder, self.short_s, self.long_s, self.where)))


@dataclass(frozen=True)
class Question:
    """One view of the search page."""

    item: int | None = None
    sound: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    more: tuple[int, ...] = ()
    less: tuple[int, ...] = ()
    find: str = ""
    folder: str | None = None
    why: int | None = None
    wish: Wish = Wish()
    k: int = STEP
    trail: tuple[int, ...] = ()
    library: str | None = None

    @classmethod
    def of(cls, address: Mapping[str, str]) -> Question:
        """The question in an address; what makes no sense is left at its default.

        >>> question = Question.of({"item": "7", "from": "1.5", "to": "4", "k": "many", "less": "3,x,9"})
        >>> question.item, question.start_s, question.end_s, question.k, question.less
        (7, 1.5, 4.0, 12, (3, 9))
        """
        item = _number(address.get("item"))
        sound = address.get("sound") or None
        start_s, end_s = _seconds(address.get("from")), _seconds(address.get("to"))
        if item is not None:
            sound = None
        if (item is None and sound is None) or start_s is None or end_s is None or end_s <= start_s:
            start_s = end_s = None
        more = _numbers(address.get("more"), SEEDS)
        k = _number(address.get("k"))
        return cls(
            item=item,
            sound=sound,
            start_s=start_s,
            end_s=end_s,
            more=more,
            less=tuple(n for n in _numbers(address.get("less"), SEEDS) if n not in more),
            find=address.get("find", "")[:200],
            folder=address["in"].strip("/")[:1_000] if address.get("in") else None,
            why=_number(address.get("why")),
            wish=Wish.of(address),
            k=STEP if k is None else min(max(k, 1), MOST),
            trail=_numbers(address.get("trail"), TRAIL),
            library=address.get("library") or None,
        )

    def address(self) -> dict[str, str]:
        """The parameters of the address; those at their default are left out.

        >>> Question(item=7, k=24, trail=(1, 2)).address()
        {'item': '7', 'k': '24', 'trail': '1.2'}
        """
        words = {
            "item": None if self.item is None else str(self.item),
            "sound": self.sound,
            "from": _word(self.start_s),
            "to": _word(self.end_s),
            "more": _joined(self.more),
            "less": _joined(self.less),
            "find": self.find,
            "in": None if self.folder is None else self.folder or "/",
            "why": None if self.why is None else str(self.why),
            **self.wish.address(),
            "k": None if self.k == STEP else str(self.k),
            "trail": _joined(self.trail),
            "library": self.library,
        }
        return {name: word for name, word in words.items() if word}

    @property
    def asks(self) -> bool:
        """Whether there is anything to find neighbours of."""
        return self.item is not None or self.sound is not None or bool(self.more)

    def ask(self, item: int) -> Question:
        """Neighbours of this item instead; the item asked for before joins the trail. Filters stay, steering does not:
        it was about the sound before."""
        if item == self.item and self.start_s is None:
            return self
        trail = self.trail if self.item is None or self.item == item else (*self.trail, self.item)
        if item in trail:  # back to a place already been to: the way from there on is forgotten
            trail = trail[: trail.index(item)]
        return replace(self._fresh(), item=item, trail=trail[-TRAIL:])

    def bring(self, sound: str) -> Question:
        """Neighbours of a sound brought along."""
        return replace(self._fresh(), sound=sound, trail=self.trail if self.item is None else (*self.trail, self.item))

    def part(self, start_s: float, end_s: float) -> Question:
        """Neighbours of this part of it alone."""
        return replace(self, start_s=start_s, end_s=end_s, k=STEP, why=None)

    def whole(self) -> Question:
        """Neighbours of the whole of it again."""
        return replace(self, start_s=None, end_s=None, why=None)

    def like(self, item: int) -> Question:
        """Answers nearer to this one; once more takes it back."""
        more = _without(self.more, item) if item in self.more else (*self.more, item)[-SEEDS:]
        return replace(self, more=more, less=_without(self.less, item))

    def dislike(self, item: int) -> Question:
        """Answers farther from this one, and it no longer among them; once more takes it back."""
        less = _without(self.less, item) if item in self.less else (*self.less, item)[-SEEDS:]
        return replace(self, less=less, more=_without(self.more, item))

    def explain(self, item: int) -> Question:
        """Why this one is an answer; once more closes it."""
        return replace(self, why=None if self.why == item else item)

    def look_through(self, folder: str | None) -> Question:
        """What lies in a folder; None: no longer."""
        return replace(self._fresh(), folder=folder)

    def look_for(self, name: str) -> Question:
        """Items with this in their name."""
        return replace(self, find=name.strip()[:200], k=STEP)

    def further(self) -> Question:
        """The same, with more answers."""
        return replace(self, k=min(self.k + STEP, MOST))

    def wished(self, wish: Wish) -> Question:
        """The same, with other answers wanted."""
        return replace(self, wish=wish, k=STEP)

    def nothing(self) -> Question:
        """Nothing asked: the first page."""
        return Question(library=self.library)

    def _fresh(self) -> Question:
        return Question(wish=self.wish, library=self.library, trail=self.trail)


def _number(word: str | None) -> int | None:
    if word is None or not (word.isascii() and word.isdigit()) or len(word) > 15:
        return None
    return int(word)


def _numbers(words: str | None, most: int) -> tuple[int, ...]:
    found = (_number(word) for word in (words or "").replace(",", ".").split("."))
    return tuple(dict.fromkeys(n for n in found if n is not None))[-most:]


def _joined(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))  # a full stop is the one separator that addresses show as it is


def _seconds(word: str | None) -> float | None:
    try:
        value = float(word) if word else math.nan
    except ValueError:
        return None
    return value if 0.0 <= value < 1e7 else None


def _word(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.2f}"


def _without(numbers: tuple[int, ...], one: int) -> tuple[int, ...]:
    return tuple(n for n in numbers if n != one)

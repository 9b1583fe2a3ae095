"""A model directory opened for search, from Python: the heart that the service, the browser and the commands share.

>>> from boiler.search.nearest import Nearest
>>> nearest = Nearest("exp/esc10/MFCCStats")  # doctest: +SKIP
>>> for match in nearest.by_sound("dog.wav", k=3):  # doctest: +SKIP
...     print(f"{match.distance:.3f}  {match.id}")
0.412  dog/1-100032-A-0.ogg
0.437  dog/5-213836-D-0.ogg
0.455  dog/3-157695-A-0.ogg

Answers are items, not windows: the window that matches best speaks for its item. There are always k of them while the
index has k items that sound; nearest first, equal ones by their number. A sound that is asked with has windows too:
what counts is the best match of any of them. Distance is angular, `sqrt(2 (1 - similarity))`, similarity the cosine.

`query` takes several things with weights, and options: filters, diversity, near-duplicates folded into one, ...

>>> from boiler.search.nearest import ByItem, Options
>>> from boiler.search.filters import field
>>> nearest.query(  # doctest: +SKIP
...     [ByItem("rain/a.wav"), ByItem("rain/b.wav"), ByItem("wind/c.wav", weight=-0.5)],
...     options=Options(where=field("duration_s") < 10, diversity=0.3),
... )

All methods may be called from several threads. torch is imported when a sound has to be embedded, not before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np

from boiler import engine
from boiler.arrays import Float32Array
from boiler.audio import stream
from boiler.catalog.items import Item
from boiler.deprecated import RenamedAttribute, module_getattr, renamed_arguments
from boiler.errors import QueryError, SoundNotHereError
from boiler.progress import ProgressCallback, ignore_progress
from boiler.search import duplicates, explain, relevance_feedback, seeds
from boiler.search import locate as locate_module
from boiler.search import query as query_module
from boiler.search.duplicates import DuplicateGroup
from boiler.search.embedder import Embedded, Embedder, TimeSpan
from boiler.search.explain import Explanation
from boiler.search.feedback import FeedbackStore, FeedbackSummary
from boiler.search.locate import LocateResult, Occurrence
from boiler.search.query import GroupLimit, Match, Options, QueryResult, QueryVectors
from boiler.search.seeds import ByItem, BySamples, BySound, ByVector, ByWindows, QueryInput, Seed
from boiler.search.snapshot import RankedItems, Snapshot
from boiler.store import generation
from boiler.store import layout as mapping
from boiler.store.header import Header
from boiler.store.layout import Map

__all__ = [
    "ByItem",
    "BySamples",
    "BySound",
    "ByVector",
    "ByWindows",
    "DuplicateGroup",
    "Embedded",
    "Explanation",
    "GroupLimit",
    "Item",
    "Map",
    "Match",
    "Nearest",
    "Options",
    "QueryResult",
    "TimeSpan",
]


class Nearest:
    """A model directory, opened.

    `wav_dir`: the folder that was indexed, for `path`; by default where it was then. `device`: what embeds sounds
    (`cpu`, `cuda`, `auto` ...). `engine`: the engine that answers, by name; by default the one the index was
    published with. `reader`: what reads sounds; by default this process does, with `boiler.audio.decoder_pool.Decoders` others.

    Raises: ModelDirError: not a model directory, damaged, or of another version. UnknownNameError: no such engine.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        *,
        wav_dir: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        engine: str | None = None,
        reader: stream.Reader = stream,
    ) -> None:
        self.model_dir = Path(model_dir)
        self._wav_dir = None if wav_dir is None else Path(wav_dir)
        self._engine_name = engine
        self._embedder = Embedder(device)
        self._reader = reader
        self._refreshing = threading.Lock()
        self.feedback = FeedbackStore(self.model_dir)
        self._current: Snapshot | None = Snapshot.open(self.model_dir, engine)

    # --------------------------------------------------------------------------------------- what is open

    @property
    def _snapshot(self) -> Snapshot:
        snapshot = self._current
        if snapshot is None:
            raise QueryError(f"{self.model_dir} was closed: open it again with Nearest(...)")
        return snapshot

    @property
    def header(self) -> Header:
        """What made the index, and what it is bound to."""
        return self._snapshot.generation.header

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return self.header.dim

    @property
    def generation(self) -> str:
        """The name of the index that answers now."""
        return self._snapshot.name

    @property
    def engine_name(self) -> str:
        """The engine that answers."""
        return self._snapshot.engine.name

    def __len__(self) -> int:
        """Items, silent ones among them."""
        return self.header.n_items

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files. Queries under way finish; new ones are refused."""
        self._current = None

    def refresh(self) -> bool:
        """Take up a newer index, if there is one: True when it answers from now on. Queries under way finish on the
        index they began with. Cheap when there is none.

        Raises: ModelDirError: there is a newer one, and it cannot be used; the one before goes on answering.
        """
        with self._refreshing:
            if generation.current_name(self.model_dir) == self._snapshot.name:
                return False
            self._current = Snapshot.open(self.model_dir, self._engine_name)
            return True

    # ------------------------------------------------------------------------------------------- the items

    def item(self, id_or_n: str | int) -> Item:
        """What is known of an item, by its id or its number.

        Raises: UnknownItemError.
        """
        return self._snapshot.item(id_or_n)

    def items(
        self,
        *,
        offset: int = 0,
        limit: int = 50,
        text: str | None = None,
        label: str | None = None,
        folder: str | None = None,
    ) -> list[Item]:
        """A page of the items, in the order of their numbers: those whose id holds `text` (upper or lower case),
        that have `label`, and that lie in `folder` itself, not below it ("" is the top).

        Raises: QueryError: offset or limit below 0.
        """
        if offset < 0 or limit < 0:
            raise QueryError(f"offset and limit are 0 or more, not {offset} and {limit}")
        return self._snapshot.items.page(offset=offset, limit=limit, text=text, label=label, folder=folder)

    def map(self) -> Map | None:
        """Where the items that sound lie in two dimensions, see `boiler.store.layout`; None in an index made without."""
        snapshot = self._snapshot
        if snapshot.generation.places is None:
            return None
        return mapping.of(snapshot.generation.places, tuple(snapshot.items.column("label")))

    def path(self, id_or_n: str | int) -> Path:
        """Where the item's sound lies.

        Raises: UnknownItemError; SoundNotHereError: the folder of the sounds is not here, or this sound not in it.
        """
        snapshot = self._snapshot
        item = snapshot.item(id_or_n)
        root = self._wav_dir or _wav_dir(snapshot)
        if root is None or not root.is_dir():
            raise SoundNotHereError(
                f"the folder of the sounds{'' if root is None else f', {root},'} is not here: name it (--wav_dir,"
                " BOILER_WAV_DIR or Nearest(..., wav_dir=...)) to hear sounds; searching does without"
            )
        path = item.path(root)
        # Links are followed, as they were when the folder was indexed; an id cannot lead out of it by itself.
        if PurePosixPath(item.id).is_absolute() or ".." in path.relative_to(root).parts:
            raise QueryError(f"{item.id} does not lie in the folder of the sounds")
        if not path.is_file():
            raise SoundNotHereError(f"{item.id} is not in {root} any more: run boiler index to take up what changed")
        return path

    # ------------------------------------------------------------------------------------------- searching

    def search(self, query: Any, k: int = 10) -> list[Match]:
        """The items nearest to a vector: an array, a tensor or a list of D numbers of any length but zero.

        Raises: QueryError: of another length, not finite, all zeros; k not a whole number from 1 on.
        """
        return query_module.to_matches(*self.rank(query, k))

    def rank(self, query: Any, k: int) -> tuple[Snapshot, RankedItems]:
        """What `search` finds, by row of the index that answered: for who names the items by itself.

        Raises: as `search`.
        """
        snapshot = self._snapshot
        vector = seeds.unit_vector(query, snapshot.generation.header.dim)
        return snapshot, snapshot.nearest_items(vector[None], seeds.checked_k(k))

    def rank_many(self, vectors: Float32Array, k: int) -> tuple[Snapshot, list[RankedItems]]:
        """`rank` for many unit vectors in one go. Shape: [Q, D] -> [Q]

        Raises: QueryError: another number of dimensions than the index's; k as `search`.
        """
        snapshot, k = self._snapshot, seeds.checked_k(k)
        if vectors.ndim != 2 or vectors.shape[1] != snapshot.generation.header.dim:
            raise QueryError(f"the vectors have the shape {list(vectors.shape)}, this index has {self.dim} numbers")
        return snapshot, snapshot.nearest_items_many([(vector[None], ()) for vector in vectors], k)

    def search_windows(self, vectors: Any, k: int = 10) -> list[Match]:
        """The items nearest to any of several vectors, such as the windows of one sound.

        Raises: QueryError: as `search`; or none given.
        """
        k = seeds.checked_k(k)
        snapshot = self._snapshot
        dim = snapshot.generation.header.dim
        queries = [seeds.unit_vector(vector, dim) for vector in seeds.evenly_spaced(vectors)]
        if not queries:
            raise QueryError("no vector was given to search with: give one at least")
        return query_module.to_matches(snapshot, snapshot.nearest_items(np.stack(queries), k))

    def by_item(self, id_or_n: str | int, k: int = 10) -> list[Match]:
        """The items nearest to one of the index, itself left out.

        Raises: QueryError, UnknownItemError; SilentSoundError: it is a silent one.
        """
        return list(self.query(ByItem(id_or_n), k).matches)

    def by_sound(
        self, source: stream.Source, k: int = 10, *, start_s: float = 0.0, end_s: float | None = None
    ) -> list[Match]:
        """The items nearest to a sound (a path, its bytes or a file object), or to the part of it from `start_s` to
        `end_s`. It need not be in the index; if it is, it finds itself.

        Raises: QueryError; NotASoundError, SoundLimitError, SilentSoundError; ModelDirError: the encoder is missing.
        """
        return list(self.query(BySound(source, start_s, end_s), k).matches)

    def query(self, question: QueryInput, k: int = 10, options: Options | None = None) -> QueryResult:
        """What is nearest to one seed, or to several with weights (`boiler.search.seeds`), as the options want it.

        Raises: QueryError: a question, k or option that makes no sense; and what `by_item` and `by_sound` raise.
        """
        k = seeds.checked_k(k)
        snapshot, options = self._snapshot, options or Options()
        return query_module.run_query(snapshot, self._steered(snapshot, question, options), k, options)

    def query_many(
        self, questions: Sequence[QueryInput], k: int = 10, options: Options | None = None
    ) -> list[QueryResult]:
        """The answers to many questions of any kinds, all from one index; without options in one matrix product.

        Raises: as `query`.
        """
        k = seeds.checked_k(k)
        snapshot, options = self._snapshot, options or Options()
        queries = [self._steered(snapshot, question, options) for question in questions]
        return query_module.run_queries(snapshot, queries, k, options)

    def query_vector(self, question: QueryInput) -> Float32Array:
        """The one vector of a question, float32 [D], unit length: of a sound of several windows their mean.

        Raises: as `query`.
        """
        return engine.normalize(self._query(self._snapshot, question).vectors.astype(np.float64).mean(axis=0))

    @renamed_arguments(tell="on_progress")
    @renamed_arguments(nearer_than="max_distance")
    def duplicates(
        self, max_distance: float = 0.1, *, on_progress: ProgressCallback = ignore_progress
    ) -> list[DuplicateGroup]:
        """Groups of nearly identical sounds in the whole collection, the largest first; see `boiler.search.duplicates`.

        Raises: QueryError: a distance that is not from 0 to 2; and what `on_progress` raises.
        """
        return duplicates.find_groups(self._snapshot, max_distance, on_progress)

    @renamed_arguments(most_s="max_read_s")
    def locate(
        self,
        sound: stream.Source | int | ByItem | BySound | BySamples,
        k: int = 10,
        *,
        within: Collection[str | int] | None = None,
        max_read_s: float | None = locate_module.MAX_READ_S,
    ) -> list[Occurrence]:
        """The k places at which a short sound, or a part of one, occurs inside the items, also below other sounds; best
        first. `sound`: a path, bytes or a file object, the number of an item, or a seed; an item asked with is left out
        unless `within` names it. `within`: only in these items; `max_read_s`: read so much sound at most, where the index
        says that it is likeliest (None: everything). See `boiler.search.locate`.

        Raises: QueryError: it is silent, too short or too long, or the sounds are not here; UnknownItemError;
        NotASoundError, SoundLimitError.
        """
        return list(self.locate_result(sound, k, within=within, max_read_s=max_read_s).occurrences)

    @renamed_arguments(most_s="max_read_s")
    def locate_result(
        self,
        sound: stream.Source | int | ByItem | BySound | BySamples,
        k: int = 10,
        *,
        within: Collection[str | int] | None = None,
        max_read_s: float | None = locate_module.MAX_READ_S,
        stop: Callable[[], bool] | None = None,
    ) -> LocateResult:
        """What `locate` found, and how much was read to find it. `stop` is asked every few seconds of sound; when it
        says so, the answer is what was found until then.

        Raises: as `locate`.
        """
        snapshot, k = self._snapshot, seeds.checked_k(k)
        if isinstance(sound, int):
            sound = ByItem(sound)
        seed = sound if isinstance(sound, ByItem | BySound | BySamples) else BySound(sound)
        among = None if within is None else {snapshot.item(one).n for one in within}
        without = set[int]()
        rate_hz = snapshot.generation.header.sample_rate_hz
        if isinstance(seed, BySamples):
            samples = seeds.samples_of(seed, rate_hz)
        else:
            source = self.path(seed.id_or_n) if isinstance(seed, ByItem) else seed.source
            seeds.part_checked(seed.start_s, seed.end_s)
            # No longer than it may be and a little, so that it is refused for its length.
            last_s = min(seed.start_s + locate_module.MAX_QUERY_S + 1, np.inf if seed.end_s is None else seed.end_s)
            samples = self._reader.load(source, start_s=seed.start_s, end_s=last_s, sample_rate_hz=rate_hz)
            without |= {snapshot.item(seed.id_or_n).n} - (among or set()) if isinstance(seed, ByItem) else set()
        return locate_module.locate(
            snapshot,
            samples,
            lambda: np.stack(
                [one.vector for one in self._embedder.embed(snapshot.generation, [samples], "the sound sought")]
            ),
            self.path,
            k,
            reader=self._reader,
            within=among,
            without=without,
            max_read_s=max_read_s,
            stop=stop,
        )

    @renamed_arguments(tell="on_progress")
    def explain(
        self, question: QueryInput, answer: str | int, *, on_progress: ProgressCallback = ignore_progress
    ) -> Explanation:
        """Why an item is similar to the one sound of a question: which windows matched, which words, and when; see
        `boiler.search.explain`. It is about the sounds alone: feedback and options of an answer change nothing here.
        `on_progress` is first called when both are embedded.

        Raises: as `query`; UnknownItemError: the answer is no item; QueryError: it is several seeds or a vector, or the
        sounds are not here, or not what they were when they were indexed; and what `on_progress` raises.
        """
        snapshot, seed = self._snapshot, explain.one_sound(question)
        number, rows = snapshot.rows_of(answer)
        times = [TimeSpan(*snapshot.rows[row].item()[1:]) for row in rows]
        rate_hz = snapshot.generation.header.sample_rate_hz
        read = explain.reading(self.path(number), self._reader, rate_hz)
        found = explain.Sound(snapshot.item(number).id, snapshot.vectors[rows.start : rows.stop], times, read)
        match seed:
            case ByItem(id_or_n):
                name, read = snapshot.item(id_or_n).id, explain.reading(self.path(id_or_n), self._reader, rate_hz)
            case BySound(source):
                if not isinstance(source, str | os.PathLike | bytes) and not source.seekable():
                    seed = replace(seed, source=source.read())  # it is read twice
                name, read = stream.name_of(source), explain.reading(seed.source, self._reader, rate_hz)
            case BySamples():
                name, read = "the samples given", explain.samples_reader(seed, rate_hz)
            case ByWindows(source=source):
                assert source is not None  # `one_sound` refuses it
                name, read = stream.name_of(source), explain.reading(source, self._reader, rate_hz)
        vectors, parts, _ = self._heard(snapshot, seed)
        asked = explain.Sound(name, vectors, parts or [], read)
        return explain.explain(asked, found, self._embedder, snapshot.generation, on_progress)

    @renamed_arguments(who="user")
    def add_feedback(self, question: QueryInput, answer: str | int, *, like: bool, user: str | None = None) -> int:
        """Keep that an item is, or is not, a good answer to a question; the next `query` of it heeds that. The number of
        the judgement, for `undo_feedback`; all of them: `feedback`.

        Raises: as `query`; UnknownItemError: the answer is no item; QueryError: it cannot be kept.
        """
        snapshot = self._snapshot
        item = snapshot.item(answer)
        key = relevance_feedback.query_key(snapshot, self._query(snapshot, question))
        return self.feedback.add(key, item.id, like=like, user=user, generation=snapshot.name)

    @renamed_arguments(who="user")
    def feedback_for(self, question: QueryInput, user: str | None = None) -> FeedbackSummary:
        """What stands about the answers to a question: of one person, or of all.

        Raises: as `query`.
        """
        if not self.feedback.exists:
            return FeedbackSummary((), ())
        snapshot = self._snapshot
        return self.feedback.verdicts(relevance_feedback.query_key(snapshot, self._query(snapshot, question)), user)

    def undo_feedback(self, judgement: int) -> bool:
        """Take a judgement back; False when there is none of that number that stands."""
        return self.feedback.undo(judgement)

    direction = RenamedAttribute("query_vector")
    located = RenamedAttribute("locate_result")
    ranked = RenamedAttribute("rank")
    ranked_each = RenamedAttribute("rank_many")
    ask = RenamedAttribute("query")
    ask_all = RenamedAttribute("query_many")
    judge = RenamedAttribute("add_feedback")
    judged = RenamedAttribute("feedback_for")
    undo = RenamedAttribute("undo_feedback")

    def _steered(self, snapshot: Snapshot, question: QueryInput, options: Options) -> QueryVectors:
        query = self._query(snapshot, question)
        return (
            relevance_feedback.apply_feedback(self.feedback, snapshot, query, options.user)
            if options.feedback
            else query
        )

    def _query(self, snapshot: Snapshot, question: QueryInput) -> QueryVectors:
        """Raises: as `query`."""
        asked = seeds.to_seeds(question)
        heard = [self._heard(snapshot, seed) for seed in asked]
        without = frozenset(number for _, _, number in heard if number is not None)
        if len(asked) == 1:
            vectors, parts, number = heard[0]
            whole = isinstance(asked[0], ByItem) and asked[0].whole
            return QueryVectors(vectors, parts, without, number if whole else None)
        vector = seeds.combined([vectors for vectors, _, _ in heard], [seed.weight for seed in asked])
        return QueryVectors(vector[None], None, without)

    def _heard(self, snapshot: Snapshot, seed: Seed) -> tuple[Float32Array, list[TimeSpan] | None, int | None]:
        """The windows of a seed, their times, and the item that it is."""
        number = None
        match seed:
            case ByVector(values):
                return seeds.unit_vector(values, snapshot.generation.header.dim)[None], None, None
            case ByItem(id_or_n) if seed.whole:
                number, rows = snapshot.rows_of(id_or_n)
                asking = seeds.evenly_spaced(rows)
                return snapshot.vectors[asking], [TimeSpan(*snapshot.rows[row].item()[1:]) for row in asking], number
            case ByItem(id_or_n, start_s, end_s):
                number = snapshot.item(id_or_n).n
                embedded = self._embed_part(snapshot, self.path(id_or_n), start_s, end_s)
            case BySound(source, start_s, end_s):
                embedded = self._embed_part(snapshot, source, start_s, end_s)
            case BySamples():
                samples = seeds.samples_of(seed, snapshot.generation.header.sample_rate_hz)
                embedded = self._embedder.embed(snapshot.generation, [samples], "the samples given", seed.start_s)
            case ByWindows():
                windows = seeds.windows_of(seed, snapshot.generation.header.dim)
                embedded = [Embedded(TimeSpan(*times), one) for times, one in zip(seed.times, windows, strict=True)]
        embedded = seeds.evenly_spaced(embedded)
        return np.stack([one.vector for one in embedded]), [one.window for one in embedded], number

    # ------------------------------------------------------------------------------------------- embedding

    def embed(self, source: stream.Source, *, start_s: float = 0.0, end_s: float | None = None) -> list[Embedded]:
        """The vector of each window that is not silent, cut as the index was; times are those of the whole sound.

        Raises: as `by_sound`.
        """
        return self._embed_part(self._snapshot, source, start_s, end_s)

    def embed_blocks(self, blocks: Iterable[stream.Samples], name: str, from_s: float = 0.0) -> list[Embedded]:
        """The same for samples at `header.sample_rate_hz`, in blocks that are asked for as they are needed; `from_s` is
        added to the times, `name` is for errors.

        Raises: what the blocks raise; SilentSoundError; ModelDirError.
        """
        return self._embedder.embed(self._snapshot.generation, blocks, name, from_s)

    def embed_samples(self, samples: Any) -> list[Embedded]:
        """The same for samples that are decoded already: float [T], mono at `header.sample_rate_hz`, any
        level.

        Raises: QueryError: not that, or not finite; SilentSoundError; ModelDirError.
        """
        generation = self._snapshot.generation
        rate_hz = generation.header.sample_rate_hz
        mono = seeds.samples_of(BySamples(samples, rate_hz), rate_hz)
        return self._embedder.embed(generation, [mono], "the samples given")

    def _embed_part(
        self, snapshot: Snapshot, source: stream.Source, start_s: float, end_s: float | None
    ) -> list[Embedded]:
        seeds.part_checked(start_s, end_s)
        rate_hz = snapshot.generation.header.sample_rate_hz
        blocks = self._reader.stream(source, start_s=start_s, end_s=end_s, sample_rate_hz=rate_hz)
        return self._embedder.embed(snapshot.generation, blocks, stream.name_of(source), start_s)


def _wav_dir(snapshot: Snapshot) -> Path | None:
    folder = snapshot.items.meta().get("wav_dir")
    return Path(folder) if folder else None


__getattr__ = module_getattr(
    __name__, {"Answer": "QueryResult", "Group": "DuplicateGroup", "Part": "TimeSpan", "PerGroup": "GroupLimit"}
)

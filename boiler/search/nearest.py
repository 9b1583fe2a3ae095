"""Search in a model directory from Python. The service, the browser and the commands use it, too.

>>> from boiler.search.nearest import Nearest
>>> nearest = Nearest("exp/esc10/MFCCStats")  # doctest: +SKIP
>>> for match in nearest.query("dog.wav", k=3).matches:  # doctest: +SKIP
...     print(f"{match.distance:.3f}  {match.id}")
0.412  dog/1-100032-A-0.ogg
0.437  dog/5-213836-D-0.ogg
0.455  dog/3-157695-A-0.ogg

Matches are items, ranked by their best window: k of them if the index has k items that are not silent, nearest first,
ties by item number. If the query is a sound of several windows, the best match of any of them counts.
Distances are angular, `sqrt(2 (1 - similarity))`, and similarity is the cosine.

A query is an id, a number, a path, bytes, a vector or a seed (`boiler.search.seeds`), or several of these, with
weights if wanted. Options filter and rerank:

>>> from boiler.search.nearest import ByItem, Options
>>> from boiler.search.filters import field
>>> nearest.query(  # doctest: +SKIP
...     [ByItem("rain/a.wav"), ByItem("rain/b.wav"), ByItem("wind/c.wav", weight=-0.5)],
...     options=Options(where=field("duration_s") < 10, diversity=0.3),
... )

All methods are thread-safe. torch is imported for the first sound that has to be embedded, not before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from boiler import engine
from boiler.arrays import Float32Array, Int64Array, T
from boiler.audio import stream
from boiler.catalog.folder import SoundFolder
from boiler.catalog.items import Failure, Item
from boiler.crossmodal.common_space import PictureSpace, Spaces, WordSpace
from boiler.crossmodal.word_model import ClassScore
from boiler.deprecated import RenamedAttribute, module_getattr, renamed_arguments
from boiler.errors import QueryError
from boiler.progress import ProgressCallback, ignore_progress
from boiler.search import duplicates, relevance_feedback, seeds
from boiler.search.context import SearchContext
from boiler.search.duplicates import DuplicateGroup
from boiler.search.embedder import Embedded, TimeSpan
from boiler.search.explain import Explanation, explain_match
from boiler.search.feedback import FeedbackSummary, JudgementStore, open_feedback
from boiler.search.filters import Filter
from boiler.search.landmarks import Landmark, find_landmarks
from boiler.search.locate import MAX_READ_S, LocateResult, Occurrence, SoundInput, locate_sound
from boiler.search.notebook import Players, results_with_players
from boiler.search.query import (
    GroupLimit,
    Match,
    Options,
    QueryResult,
    QueryVectors,
    run_queries,
    run_query,
    to_matches,
)
from boiler.search.resolve import resolve_query
from boiler.search.seeds import ByItem, ByPicture, BySamples, BySound, ByText, ByVector, ByWindows, QueryInput
from boiler.search.snapshot import RankedItems, Snapshot
from boiler.search.tags import (
    PredictedTags,
    SoundTag,
    TagCount,
    TagModels,
    has_tag_model,
    tag_counts,
    tags_of_item,
    tags_of_vectors,
)
from boiler.store import layout
from boiler.store.header import Header
from boiler.store.layout import Map
from boiler.tagging.by_hand import HandLabels
from boiler.vision.image_model import ImageModelFile

__all__ = [
    "ByItem",
    "ByPicture",
    "BySamples",
    "BySound",
    "ByText",
    "ByVector",
    "ByWindows",
    "DuplicateGroup",
    "Embedded",
    "Explanation",
    "GroupLimit",
    "Item",
    "Landmark",
    "Map",
    "Match",
    "Nearest",
    "Options",
    "PredictedTags",
    "QueryResult",
    "SoundTag",
    "TagCount",
    "TimeSpan",
]


class Nearest:
    """An open model directory. A context manager; `close` releases its files.

    wav_dir: the folder that was indexed, a path or an address; by default where it was at that time
    device: where sounds are embedded: `cpu`, `cuda`, `mps`, `auto`
    engine: the name of the search engine; by default the one the index was published with
    reader: decodes sounds: by default in this process, with `boiler.audio.decoder_pool.Decoders` in others
    feedback_url: where likes and dislikes are stored: a PostgreSQL database; by default in the model directory
    words_model: a `words.safetensors` of `boiler.train_words`, to search in words with; by default with the model of
        the package, if the index has its scores
    sentence_model: the directory of the model of sentences that `words_model` was trained with, if it was; by default
        the one that `boiler encoders add all-minilm-l6-v2` wrote
    pictures_model: a `pictures.safetensors` of `boiler.train_pictures`, to search by pictures with; by default by the
        names of what they show
    image_model: the network that names what a picture shows: a file, or an `ImageModelFile` of
        `boiler.vision.image_model`; by default what `boiler encoders add efficientnet-lite0` wrote

    Raises: ModelDirError: no model directory, damaged, or of another version. UnknownNameError: no such engine.
    SettingsError: `feedback_url` is no such URL. CheckpointError: `words_model` or `pictures_model` is
    missing or damaged. WrongEncoderError: it is for vectors of another encoder.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        *,
        wav_dir: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        engine: str | None = None,
        reader: stream.Reader = stream,
        feedback_url: str | None = None,
        words_model: str | os.PathLike[str] | None = None,
        sentence_model: str | os.PathLike[str] | None = None,
        pictures_model: str | os.PathLike[str] | None = None,
        image_model: str | os.PathLike[str] | ImageModelFile | None = None,
    ) -> None:
        spaces = Spaces(
            None if words_model is None else _word_space(Path(words_model), sentence_model),
            None if pictures_model is None else PictureSpace.load(Path(pictures_model)),
        )
        self.feedback: JudgementStore = open_feedback(Path(model_dir), feedback_url)
        self._context = SearchContext(model_dir, wav_dir, device, engine, reader, spaces, image_model)
        self.hand_labels = HandLabels(self.model_dir)
        self._tag_models = TagModels()

    # --------------------------------------------------------------------------------------- the open index

    @property
    def model_dir(self) -> Path:
        """The model directory."""
        return self._context.model_dir

    @property
    def header(self) -> Header:
        """How the index was made, and with which encoder."""
        return self._context.snapshot.generation.header

    @property
    def dim(self) -> int:
        """The length of a vector, D."""
        return self.header.dim

    @property
    def generation(self) -> str:
        """The name of the current index."""
        return self._context.snapshot.name

    @property
    def engine_name(self) -> str:
        """The name of the search engine."""
        return self._context.snapshot.engine.name

    @property
    def is_hosted(self) -> bool:
        """Whether the search engine is a server, so that a search waits for the network."""
        return self._context.snapshot.is_hosted

    def __len__(self) -> int:
        """The number of items, silent ones included."""
        return self.header.n_items

    def __repr__(self) -> str:
        if not self._context.is_open:
            return f"<Nearest {str(self.model_dir)!r}, closed>"
        return f"<Nearest {str(self.model_dir)!r}: {len(self):,} items, {self.header.encoder}, {self.engine_name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the files. Running queries finish; later ones raise QueryError."""
        self._context.close()
        self.feedback.close()

    def refresh(self) -> bool:
        """Open a newer index if one was published. Returns whether it did. Running queries finish on the index they
        started with. Cheap if there is no newer one.

        Raises: ModelDirError: the newer index cannot be opened; the current one stays.
        """
        return self._context.refresh()

    # --------------------------------------------------------------------------------------------- items

    def item(self, id_or_n: str | int) -> Item:
        """An item, by its id or its number.

        Raises: UnknownItemError.
        """
        return self._context.snapshot.item(id_or_n)

    def find_item(self, id_or_n: str | int) -> Item | None:
        """As `item`; None if there is no such item."""
        snapshot = self._context.snapshot
        return None if snapshot.find_record(id_or_n) is None else snapshot.item(id_or_n)

    def items(
        self,
        *,
        offset: int = 0,
        limit: int = 50,
        text: str | None = None,
        label: str | None = None,
        folder: str | None = None,
        where: Filter | None = None,
    ) -> list[Item]:
        """A page of the items in the order of their numbers: those whose id contains `text` (in any case), that have
        `label`, that are in `folder` itself, not below it ("" is the top folder), and that pass `where`.

        Raises: QueryError: offset or limit below 0.
        """
        if offset < 0 or limit < 0:
            raise QueryError(f"offset and limit are 0 or more, not {offset} and {limit}")
        return self._context.snapshot.items.page(
            offset=offset,
            limit=limit,
            text=text,
            label=label,
            folder=folder,
            condition=None if where is None else where.sql(),
        )

    def failures(self, *, offset: int = 0, limit: int = 50) -> tuple[str, list[Failure]]:
        """The name of the index, and a page of the files that could not be indexed, in the order of their ids."""
        snapshot = self._context.snapshot
        return snapshot.name, snapshot.items.failures(limit, offset)

    def map(self) -> Map | None:
        """The map of the collection, see `boiler.store.layout`; None if the index has none."""
        snapshot = self._context.snapshot
        if snapshot.generation.map_points is None:
            return None
        return layout.collection_map(snapshot.generation.map_points, tuple(snapshot.items.column("label")))

    def landmarks(self) -> tuple[Landmark, ...]:
        """Words on the map: classes of sounds, each placed where the sounds are that match it best, the largest
        first. None if the index has no map, or cannot be searched in words. Computed at each call, which takes some
        tenths of a second for 100,000 windows."""
        return find_landmarks(self._context.snapshot)

    def path(self, id_or_n: str | int) -> Path:
        """The file of an item.

        Raises: UnknownItemError; SoundNotHereError: the folder of the sounds, or this file, is not here.
        """
        return self._context.sound_path(self._context.snapshot, id_or_n)

    @property
    def sound_folder(self) -> SoundFolder | None:
        """The folder of the sounds, which may be missing; None if it is not known. `address` is its path or address;
        one of this machine is accepted where a path is."""
        return self._context.sound_folder(self._context.snapshot)

    # ------------------------------------------------------------------------------------------- tags

    def tags(self, sound: str | int | stream.Source, k: int = 10) -> list[SoundTag]:
        """The tags of an item, by its id or number, including those by hand until now; or the k most probable tags of
        any other sound: a path, bytes or a file object.

        Raises: as `query`; QueryError: another sound, and the index has no tag model. See `boiler.search.tags`.
        """
        snapshot = self._context.snapshot
        model = self._tag_models.of(snapshot)
        if isinstance(sound, int | str) and (isinstance(sound, int) or snapshot.find_record(sound) is not None):
            item = snapshot.item(sound)
            return tags_of_item(item, self.hand_labels.of(item.id), model)
        return self.tags_of_windows([one.vector for one in self.embed(sound)], k)

    def tags_of_windows(self, vectors: Any, k: int = 10) -> list[SoundTag]:
        """The k most probable tags of a sound, from the vectors of its windows, as `embed` returns them.

        Raises: as `predict_tags`.
        """
        return self.predict_tags(vectors, k).tags

    def predict_tags(self, vectors: Any, k: int = 10) -> PredictedTags:
        """As `tags_of_windows`, with the number of tags that reach their threshold.

        Raises: QueryError: the index has no tag model; no vectors, or of another length; k below 1.
        """
        snapshot = self._context.snapshot
        dim = snapshot.generation.header.dim
        unit = [seeds.unit_vector(vector, dim) for vector in vectors]
        if not unit:
            raise QueryError("give at least one vector")
        return tags_of_vectors(np.stack(unit), self._tag_models.of(snapshot), seeds.checked_k(k))

    @property
    def has_tag_model(self) -> bool:
        """Whether sounds can be tagged, because `boiler tag` was given a model for this index."""
        return has_tag_model(self._context.snapshot)

    def add_tag(self, id_or_n: str | int, tag: str, has: bool = True, *, owner: str | None = None) -> int:
        """Store that an item has a tag, or has not, whatever the model says. Returns a number for `undo_tag`, which
        this `owner` may call. Filters and counts see it once the index is published again.

        Raises: UnknownItemError; QueryError: not a tag; FeedbackError: it cannot be written.
        """
        return self.hand_labels.add(self._context.snapshot.item(id_or_n).id, tag, has, owner)

    def undo_tag(self, label: int, *, owner: str | None = None) -> bool:
        """Undo `add_tag`. Returns False if there is no such label, if it is undone already, or if it was not stored
        with the `owner` that is given."""
        return self.hand_labels.undo(label, owner)

    def item_vectors(self) -> tuple[Int64Array, Float32Array]:
        """The numbers of all items that are not silent, ascending, and the normalised mean of the windows of each, to
        train models with. Shape: [N], [N, D]"""
        snapshot = self._context.snapshot
        return np.unique(snapshot.numbers), np.asarray(snapshot.generation.item_vectors)

    def numbers_of(self, by_id: Mapping[str, T]) -> dict[int, T]:
        """The values by the numbers of the items instead of their ids; without those that are no longer here."""
        snapshot = self._context.snapshot
        found = ((snapshot.items.record(id), value) for id, value in by_id.items())
        return {int(record["n"]): value for record, value in found if record is not None}

    def tag_counts(self) -> list[TagCount]:
        """Every tag that an item has, and how many items have it, the most frequent first."""
        snapshot = self._context.snapshot
        return tag_counts(snapshot, self._tag_models.of(snapshot))

    # ------------------------------------------------------------------------------------------- queries

    @renamed_arguments(question="query")
    def query(self, query: QueryInput, k: int = 10, options: Options | None = None) -> QueryResult:
        """The items nearest to a query.

        Raises: QueryError: an invalid query, k or option; UnknownItemError; SilentSoundError: nothing but silence;
        NotASoundError, SoundLimitError; ModelDirError: the encoder is missing.
        """
        k, options, snapshot = seeds.checked_k(k), options or Options(), self._context.snapshot
        return run_query(snapshot, self._resolve(snapshot, query, options), k, options)

    @renamed_arguments(questions="queries")
    def query_many(
        self, queries: Sequence[QueryInput], k: int = 10, options: Options | None = None
    ) -> list[QueryResult]:
        """The items nearest to each of many queries, all from one index; without options in one matrix product.

        Raises: as `query`.
        """
        k, options, snapshot = seeds.checked_k(k), options or Options(), self._context.snapshot
        resolved = [self._resolve(snapshot, one, options) for one in queries]
        return run_queries(snapshot, resolved, k, options)

    def by_item(self, id_or_n: str | int, k: int = 10) -> list[Match]:
        """The items nearest to an item, without the item itself.

        Raises: as `query`.
        """
        return list(self.query(ByItem(id_or_n), k).matches)

    def by_sound(
        self, source: stream.Source, k: int = 10, *, start_s: float = 0.0, end_s: float | None = None
    ) -> list[Match]:
        """The items nearest to a sound (a path, bytes or a file object), or to its part from `start_s` to `end_s`. A
        sound of the index finds itself, too.

        Raises: as `query`.
        """
        return list(self.query(BySound(source, start_s, end_s), k).matches)

    def by_text(self, text: str, k: int = 10) -> list[Match]:
        """The items that match words best, as in `dog barking -indoor`; words with a minus push away. `words` of a
        match says what it sounds like. `query(ByText(...))` also says how the words were understood.

        Raises: as `query`; QueryError: none of the words is known, or this index cannot be searched in words.
        """
        return list(self.query(ByText(text), k).matches)

    def by_picture(self, picture: Any, k: int = 10) -> list[Match]:
        """The items that match best what a picture shows. `query(ByPicture(...))` also says what was seen.

        picture: a path, the bytes of a file, a picture of Pillow, or pixels, uint8 [H, W, 3]; files are decoded in this
            process

        Raises: as `query`; EmbeddingError: it cannot be read; CheckpointError: no network for pictures; QueryError:
            nothing in it has a known name, or this index cannot be searched in words.
        """
        return list(self.query(ByPicture(picture), k).matches)

    def words(self, id_or_n: str | int, k: int = 5) -> list[ClassScore]:
        """The k classes of sounds that an item matches best, with their probabilities: of each class, that of its best
        window.

        Raises: UnknownItemError; SilentSoundError; QueryError: this index cannot be searched in words.
        """
        snapshot = self._context.snapshot
        return snapshot.words_of_rows(snapshot.rows_of(id_or_n)[1], seeds.checked_k(k))

    @property
    def has_words(self) -> bool:
        """Whether this index can be searched in words."""
        return self._context.snapshot.has_words

    def search(self, vector: Any, k: int = 10, *, encoder: str | None = None) -> list[Match]:
        """The items nearest to a vector: an array, a tensor or a list of D numbers, not all zero.

        encoder: the sha256 or the name of the encoder that made the vector, to be checked; see `seeds.check_encoder`

        Raises: QueryError: of another length, not finite, or all zeros; k below 1. WrongEncoderError.
        """
        seeds.check_encoder(encoder, self.header)
        return to_matches(*self.rank(vector, k))

    def search_windows(self, vectors: Any, k: int = 10) -> list[Match]:
        """The items nearest to any of several vectors, such as the windows of one sound.

        Raises: QueryError: as `search`; or no vector.
        """
        k, snapshot = seeds.checked_k(k), self._context.snapshot
        dim = snapshot.generation.header.dim
        queries = [seeds.unit_vector(vector, dim) for vector in seeds.evenly_spaced(vectors)]
        if not queries:
            raise QueryError("give at least one vector to search with")
        return to_matches(snapshot, snapshot.nearest_items(np.stack(queries), k))

    def rank(self, vector: Any, k: int) -> tuple[Snapshot, RankedItems]:
        """As `search`, but returns arrays instead of matches, and the snapshot whose rows they name.

        Raises: as `search`.
        """
        snapshot = self._context.snapshot
        query = seeds.unit_vector(vector, snapshot.generation.header.dim)
        return snapshot, snapshot.nearest_items(query[None], seeds.checked_k(k))

    def rank_many(self, vectors: Float32Array, k: int) -> tuple[Snapshot, list[RankedItems]]:
        """`rank` of many unit vectors in one call of the engine. Shape: [Q, D] -> [Q]

        Raises: QueryError: of another length; k below 1.
        """
        k, snapshot = seeds.checked_k(k), self._context.snapshot
        if vectors.ndim != 2 or vectors.shape[1] != snapshot.generation.header.dim:
            raise QueryError(
                f"the vectors have the shape {list(vectors.shape)}, those of this index {self.dim} numbers"
            )
        return snapshot, snapshot.nearest_items_many([(vector[None], ()) for vector in vectors], k)

    @renamed_arguments(question="query")
    def query_vector(self, query: QueryInput) -> Float32Array:
        """A single vector for a query, float32 [D], unit length: the mean over the windows of a sound.

        Raises: as `query`.
        """
        resolved = resolve_query(self._context, self._context.snapshot, query)
        if resolved.words:
            raise QueryError("words and pictures have no vector: search with them, or give sounds only")
        vectors = resolved.vectors
        return engine.normalize(vectors.astype(np.float64).mean(axis=0))

    def players(self, result: QueryResult, *, max_s: float = 8.0) -> Players:
        """The results as a table with a player in each row, for notebooks. A player holds the window that matched, at
        most `max_s` seconds of it, as the encoder receives it: mono, at the rate of the index."""
        return results_with_players(self._context, result, max_s)

    # ------------------------------------------------------------------------------- explain, locate, duplicates

    @renamed_arguments(tell="on_progress", question="query", answer="item")
    def explain(
        self, query: QueryInput, item: str | int, *, on_progress: ProgressCallback = ignore_progress
    ) -> Explanation:
        """Why an item is similar to the sound of a query: which windows match, which codes contribute, and when. Only
        the two sounds are compared; feedback and options have no effect. See `boiler.search.explain`.

        Raises: as `query`; QueryError: several seeds, a vector, or sounds that are not here or changed since they were
        indexed; and what `on_progress` raises.
        """
        return explain_match(self._context, self._context.snapshot, query, item, on_progress)

    @renamed_arguments(most_s="max_read_s")
    def locate(
        self,
        sound: SoundInput,
        k: int = 10,
        *,
        within: Collection[str | int] | None = None,
        max_read_s: float | None = MAX_READ_S,
    ) -> list[Occurrence]:
        """The k best occurrences of a short sound inside the items, also where other sounds are louder. See
        `boiler.search.locate`.

        sound: a path, bytes or a file object, the number of an item, or a seed. The file of an item is skipped when
            that item is located, unless `within` names it
        within: ids or numbers: search only these items
        max_read_s: read at most this many seconds of the items, those nearest by their vectors; None: all

        Raises: QueryError: the sound is silent, too short or too long, or the items' files are not here;
        UnknownItemError; NotASoundError, SoundLimitError.
        """
        return list(self.locate_result(sound, k, within=within, max_read_s=max_read_s).occurrences)

    @renamed_arguments(most_s="max_read_s")
    def locate_result(
        self,
        sound: SoundInput,
        k: int = 10,
        *,
        within: Collection[str | int] | None = None,
        max_read_s: float | None = MAX_READ_S,
        stop: Callable[[], bool] | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> LocateResult:
        """As `locate`, with how much was read. `stop` is called every few seconds of sound: once it returns True, the
        result is what was found until then.

        Raises: as `locate`; and what `on_progress` raises.
        """
        return locate_sound(
            self._context,
            self._context.snapshot,
            sound,
            seeds.checked_k(k),
            within=within,
            max_read_s=max_read_s,
            stop=stop,
            on_progress=on_progress,
        )

    @renamed_arguments(tell="on_progress", nearer_than="max_distance")
    def duplicates(
        self, max_distance: float = duplicates.MAX_DISTANCE, *, on_progress: ProgressCallback = ignore_progress
    ) -> list[DuplicateGroup]:
        """Groups of near-duplicates in the whole collection, the largest first. See `boiler.search.duplicates`.

        Raises: QueryError: a distance that is not from 0 to 2; and what `on_progress` raises.
        """
        return duplicates.find_groups(self._context.snapshot, max_distance, on_progress)

    # ------------------------------------------------------------------------------------------- feedback

    @renamed_arguments(who="user", question="query", answer="item")
    def add_feedback(
        self, query: QueryInput, item: str | int, *, like: bool, user: str | None = None, owner: str | None = None
    ) -> int:
        """Store that an item is, or is not, a good result for a query, which changes the ranking of that query from now
        on. Returns the number of the judgement, for `undo_feedback`. `user`: any name; `owner`: see there.

        Raises: as `query`; FeedbackError: it cannot be written.
        """
        snapshot = self._context.snapshot
        id = snapshot.item(item).id
        key = self._feedback_key(snapshot, query)
        return self.feedback.add(key, id, like=like, user=user, generation=snapshot.name, owner=owner)

    @renamed_arguments(who="user", question="query")
    def feedback_for(self, query: QueryInput, user: str | None = None) -> FeedbackSummary:
        """The liked and disliked results of a query, by one user or by all.

        Raises: as `query`.
        """
        if not self.feedback.exists:
            return FeedbackSummary((), ())
        return self.feedback.summary(self._feedback_key(self._context.snapshot, query), user)

    def undo_feedback(
        self, judgement: int, *, user: str | None = None, anyone: bool = True, owner: str | None = None
    ) -> bool:
        """Undo a judgement, by default whoever gave it, else only one of `user`; with `owner`, only one that was added
        with the same owner. Returns False if there is none with this number, or if it is undone already."""
        return self.feedback.undo(judgement, only_of=user, anyone=anyone, owner=owner)

    def _feedback_key(self, snapshot: Snapshot, query: QueryInput) -> str:
        return relevance_feedback.query_key(snapshot, resolve_query(self._context, snapshot, query))

    def _resolve(self, snapshot: Snapshot, query: QueryInput, options: Options) -> QueryVectors:
        resolved = resolve_query(self._context, snapshot, query)
        if not options.feedback or resolved.words:  # likes and dislikes move vectors
            return resolved
        return relevance_feedback.apply_feedback(self.feedback, snapshot, resolved, options.user)

    # ------------------------------------------------------------------------------------------- embedding

    def embed(self, source: stream.Source, *, start_s: float = 0.0, end_s: float | None = None) -> list[Embedded]:
        """The vector of each window of a sound that is not silent, with its time span in the whole sound.

        Raises: as `query`.
        """
        seeds.check_span(start_s, end_s)
        return self._context.embed(self._context.snapshot, source, start_s, end_s)

    def embed_blocks(
        self,
        blocks: Iterable[stream.Samples],
        name: str,
        from_s: float = 0.0,
        on_embedded: Callable[[int], object] = lambda n_windows: None,
    ) -> list[Embedded]:
        """As `embed`, of blocks of samples at `header.sample_rate_hz`, consumed as they are needed. `from_s` is added
        to the time spans, `name` is used in errors, `on_embedded` is called with the number of windows so far.

        Raises: what the blocks and `on_embedded` raise; SilentSoundError; ModelDirError.
        """
        return self._context.embedder.embed(self._context.snapshot.generation, blocks, name, from_s, on_embedded)

    def embed_samples(self, samples: Any) -> list[Embedded]:
        """As `embed`, of samples: float [T], mono, at `header.sample_rate_hz`, at any level.

        Raises: QueryError: not that, or not finite; SilentSoundError; ModelDirError.
        """
        opened = self._context.snapshot.generation
        rate_hz = opened.header.sample_rate_hz
        mono = seeds.mono_samples(BySamples(samples, rate_hz), rate_hz)
        return self._context.embedder.embed(opened, [mono], "the samples given")

    # Deprecated names, kept for one version.
    ask = RenamedAttribute("query")
    ask_all = RenamedAttribute("query_many")
    direction = RenamedAttribute("query_vector")
    judge = RenamedAttribute("add_feedback")
    judged = RenamedAttribute("feedback_for")
    located = RenamedAttribute("locate_result")
    ranked = RenamedAttribute("rank")
    ranked_each = RenamedAttribute("rank_many")
    undo = RenamedAttribute("undo_feedback")


__getattr__ = module_getattr(
    __name__, {"Answer": "QueryResult", "Group": "DuplicateGroup", "Part": "TimeSpan", "PerGroup": "GroupLimit"}
)


def _word_space(path: Path, sentence_model: str | os.PathLike[str] | None) -> WordSpace:
    space = WordSpace.load(path)
    if not space.sentence_sha256:
        return space
    from boiler.crossmodal import sentences  # loads torch

    return space.with_sentences(sentences.folder_of(sentence_model))

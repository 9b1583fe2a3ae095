"""Pydantic models of the request bodies, query parameters and responses that several routes share.

Bodies are validated strictly: no unknown keys, no ``"1"`` for 1, no ``true`` for 1.0, no NaN or infinity. A renamed
field stays for one version: requests accept the old name, responses contain both, and OpenAPI marks it deprecated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from boiler.catalog.items import FIELDS
from boiler.crossmodal import text_query

MIN_PART_S = 0.001
MAX_SECONDS = 1e9


def _end_after_start(end_s: float | None, info: ValidationInfo) -> float | None:
    start_s = info.data.get("start_s")
    if end_s is not None and start_s is not None and end_s < start_s + MIN_PART_S:
        raise PydanticCustomError("part", "must be greater than start_s by at least {least} s", {"least": MIN_PART_S})
    return end_s


FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]
ItemNumber = Annotated[int, Field(ge=0, lt=2**63, description="the item's number in the catalog")]
Vector = Annotated[
    list[FiniteNumber],
    # fail_fast: the first fault says enough, and a body of faults would take seconds
    Field(
        min_length=1,
        max_length=65_536,
        fail_fast=True,
        description="a vector of the index's length: `dim` of GET /model",
    ),
]
StartSeconds = Annotated[
    float, Field(ge=0, lt=MAX_SECONDS, allow_inf_nan=False, description="where the part begins, seconds")
]
EndSeconds = Annotated[
    float | None,
    Field(
        ge=MIN_PART_S,
        lt=MAX_SECONDS,
        allow_inf_nan=False,
        description="where the part ends, seconds; default: at the sound's end",
    ),
    AfterValidator(_end_after_start),
]
UserName = Annotated[str | None, Field(min_length=1, max_length=200)]
EngineName = Annotated[str, Field(description="the search engine that answered", examples=["exact"])]
GenerationName = Annotated[str, Field(description="the index that answered", examples=["20260101T000000Z-1a2b3c4d"])]


class RequestModel(BaseModel):
    """Base of all request models. `RENAMED` maps old field names to new ones; both are fields of the model."""

    model_config = ConfigDict(extra="forbid")
    RENAMED: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, data: Any) -> Any:
        if not cls.RENAMED or not isinstance(data, dict):
            return data
        data = dict(data)
        for old, new in cls.RENAMED.items():
            if old in data:
                if new in data:
                    raise PydanticCustomError(
                        "renamed", "{old} is the old name of {new}: give only {new}", {"old": old, "new": new}
                    )
                data[new] = data.pop(old)
        return data


class BodyModel(RequestModel):
    """Base of all JSON bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class ResponseModel(BaseModel):
    """Base of all responses."""

    model_config = ConfigDict(frozen=True)


class KQuery(RequestModel):
    """How many results to return."""

    k: int = Field(10, ge=1, description="number of results, at most `max_k` of GET /model", examples=[12])


class PartQuery(RequestModel):
    """A part of a sound; by default all of it."""

    start_s: StartSeconds = 0.0
    end_s: EndSeconds = None

    @property
    def is_whole(self) -> bool:
        return self.start_s == 0.0 and self.end_s is None


VectorEncoder = Annotated[
    str | None,
    Field(
        max_length=200,
        description="the encoder that made the vector, checked if given: `encoder_sha256` of POST /embed or GET /model,"
        " or the encoder's name, which does not tell two trainings apart; another one than the index's gets 409",
    ),
]


class NearestRequest(BodyModel):
    """A vector to search by. Only its direction counts, not its length."""

    embedding: Vector
    encoder: VectorEncoder = None


class Neighbour(ResponseModel):
    """A search result: an item, and the part of it that matched best."""

    id: str = Field(description="path relative to the indexed folder", examples=["dog/1-100032-A.ogg"])
    n: int = Field(description="the item's number, as in /items/{n}", examples=[17])
    url: str = Field(description="the id as expanded by the index's URL template", examples=["dog/1-100032-A.ogg"])
    label: str | None = Field(description="the item's label, if it has one", examples=["dog"])
    start_s: float = Field(description="where the matching part begins, seconds", examples=[0.0])
    end_s: float = Field(description="where it ends, seconds", examples=[5.0])
    distance: float = Field(description="sqrt(2 (1 - similarity)), 0 to 2; smaller is nearer", examples=[0.37])
    similarity: float = Field(description="cosine similarity, -1 to 1", examples=[0.931])
    closer_than: float | None = Field(
        description="share of random pairs of the collection that are farther apart, 0 to 1; null where it has too few"
        " different sounds to say",
        examples=[0.98],
    )


SearchText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=text_query.MAX_LENGTH,
        description="words that describe a sound; those with a minus are avoided",
        examples=["dog barking -indoor"],
    ),
]


class SeedRequest(BodyModel):
    """A seed of a query: one of a vector, an item (by number or id), a sound, words, and a picture; of an item and a
    sound also a part."""

    embedding: Vector | None = None
    encoder: VectorEncoder = None
    n: ItemNumber | None = None
    id: Annotated[
        str | None, Field(min_length=1, max_length=4_096, description="the item's id, instead of its number")
    ] = None
    sound: Annotated[
        str | None, Field(min_length=1, description="a sound file, in base64; larger ones are sent as `upload`")
    ] = None
    upload: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description="name of the part with a sound or picture file, where the query is sent as a form: its JSON is"
            " the part `query`",
        ),
    ] = None
    text: SearchText | None = None
    picture: Annotated[
        str | None,
        Field(
            min_length=1,
            description="a picture file (JPEG, PNG, WebP, GIF, TIFF or BMP), in base64: like what it shows; larger ones"
            " are sent as `upload`",
        ),
    ] = None
    start_s: StartSeconds = 0.0
    end_s: EndSeconds = None
    weight: Annotated[float, Field(ge=-100, le=100, description="weight of the seed; negative: unlike it")] = 1.0

    @property
    def is_whole(self) -> bool:
        return self.start_s == 0.0 and self.end_s is None


class BatchRequest(BodyModel):
    """Several searches in one request."""

    queries: Annotated[list[SeedRequest], Field(min_length=1, max_length=10_000, fail_fast=True)]
    k: Annotated[int, Field(ge=1, description="number of results of each query")] = 10


class BatchResponse(ResponseModel):
    """A list of results for each query, in the order of the queries."""

    results: list[list[Neighbour]]
    engine: EngineName
    generation: GenerationName


GroupSize = Annotated[int, Field(ge=1, lt=2**31, description="maximal number of results with the same value")]


class GroupCap(BodyModel):
    """At most `limit` results with the same value of a field."""

    RENAMED = {"most": "limit"}

    field: Annotated[str, Field(max_length=200, description="label, folder, or metadata.NAME", examples=["label"])] = (
        "folder"
    )
    limit: GroupSize = 1
    most: Annotated[GroupSize, Field(deprecated=True, description="old name of limit")] = 1


DedupDistance = Annotated[
    float | None,
    Field(
        ge=0,
        le=2,
        description="merge results of equal duration that are nearer to each other than this; default: merge none",
    ),
]
CSLS = Annotated[
    bool, Field(description="correct for hubs, items that are near to everything (cross-domain local scaling)")
]
FeedbackUser = Annotated[UserName, Field(description="use only the feedback of this user; default: of all users")]


class TextRequest(BodyModel):
    """A search in words."""

    text: SearchText
    k: Annotated[int, Field(ge=1, description="number of results, at most `max_k` of GET /model")] = 10


class QueryRequest(BodyModel):
    """A search with several seeds, filters and reranking."""

    RENAMED = {"fold_nearer_than": "dedup_distance", "set_back_hubs": "csls", "who": "user"}

    seeds: Annotated[list[SeedRequest], Field(min_length=1, max_length=100, fail_fast=True)]
    k: Annotated[int, Field(ge=1, description="number of results, at most `max_k` of GET /model")] = 10
    where: Annotated[
        dict[str, Any] | None,
        Field(
            description='only items that match this filter: {"label": "dog"}, {"duration_s": {"<": 5}}, '
            '{"under": "loops"}, {"and": [...]}, {"or": [...]}, {"not": {...}}; fields are those of GET /items/{n}, '
            "metadata.NAME and tags.NAME",
            examples=[{"duration_s": {">=": 0.5}}],
        ),
    ] = None
    without: Annotated[
        list[ItemNumber], Field(max_length=10_000, fail_fast=True, description="numbers of items to leave out")
    ] = []
    min_similarity: Annotated[float | None, Field(ge=-1, le=1, description="smallest cosine similarity")] = None
    per_window: Annotated[bool, Field(description="return matching windows instead of items")] = False
    dedup_distance: DedupDistance = None
    per_group: Annotated[GroupCap | None, Field(description="limit the results of each group")] = None
    diversity: Annotated[float, Field(ge=0, le=1, description="prefer results that are unlike those before them")] = 0.0
    csls: CSLS = False
    feedback: Annotated[bool, Field(description="take earlier feedback on this query into account")] = True
    user: FeedbackUser = None
    fold_nearer_than: Annotated[DedupDistance, Field(deprecated=True, description="old name of dedup_distance")] = None
    set_back_hubs: Annotated[CSLS, Field(deprecated=True, description="old name of csls")] = False
    who: Annotated[FeedbackUser, Field(deprecated=True, description="old name of user")] = None


class ClassScoreRow(ResponseModel):
    """A class of sounds and its probability, or its weight in a query."""

    name: str = Field(examples=["bark"])
    score: float = Field(examples=[0.41])


class UnderstoodRow(ResponseModel):
    """How words, or a picture, were understood."""

    wanted: list[str] = Field(description="known words to search for", examples=[["dog", "barking"]])
    unwanted: list[str] = Field(description="known words to stay away from", examples=[["indoor"]])
    unknown: dict[str, list[str]] = Field(
        description="unknown words, which are ignored, each with known ones of a similar spelling",
        examples=[{"barkign": ["barking"]}],
    )
    wanted_classes: list[ClassScoreRow] = Field(description="the classes of sounds that the words went to")
    unwanted_classes: list[ClassScoreRow] = Field(description="and those of the words to stay away from")
    seen: list[ClassScoreRow] = Field(
        description="of a picture: the most probable classes of what it shows, with their probabilities",
    )


class QueryNeighbour(Neighbour):
    """A result of a query, with further information on the match."""

    query_start_s: float | None = Field(
        description="where the matching part of the seed begins, seconds", examples=[0.0]
    )
    query_end_s: float | None = Field(description="where it ends, seconds", examples=[5.0])
    folded: list[str] = Field(description="ids of near-duplicates that were merged into this result", examples=[[]])
    words: list[ClassScoreRow] = Field(
        description="the classes of sounds that it matches best, with their probabilities, if words were searched with",
        examples=[[{"name": "bark", "score": 0.41}]],
    )
    asked_start_s: float | None = Field(description="old name of query_start_s", examples=[0.0], deprecated=True)
    asked_end_s: float | None = Field(description="old name of query_end_s", examples=[5.0], deprecated=True)


class QueryResponse(ResponseModel):
    """The results of a query, best first."""

    results: list[QueryNeighbour]
    engine: EngineName
    generation: GenerationName
    reason: str | None = Field(description="why there are fewer than k results, if so", examples=[None])
    nothing_similar: bool = Field(
        description="whether even the best result is hardly more similar than a random pair", examples=[False]
    )
    understood: list[UnderstoodRow] = Field(description="how words and pictures were understood, in their order")


_ITEM_FIELDS: dict[str, Any] = {
    field.name: (field.type, Field(description=field.description, examples=[field.example]))
    for field in FIELDS
    if field.served
}
ItemRow = create_model("ItemRow", __base__=ResponseModel, __doc__="An item of the index.", **_ITEM_FIELDS)


class ItemPage(ResponseModel):
    """A page of items, ordered by number."""

    items: list[ItemRow]  # type: ignore[valid-type]  # created at run time
    offset: int = Field(examples=[0])
    more: bool = Field(description="whether there are items after this page", examples=[True])


class Waveform(ResponseModel):
    """A waveform to draw: column ``i`` reaches from ``low[i]`` to ``high[i]``."""

    n: int = Field(examples=[17])
    start_s: float = Field(examples=[0.0])
    end_s: float = Field(examples=[5.0])
    points: int = Field(examples=[2])
    low: list[float] = Field(description="-1 to 1", examples=[[-0.71, -0.2]])
    high: list[float] = Field(description="-1 to 1", examples=[[0.69, 0.21]])


class EmbeddedWindow(ResponseModel):
    """A window of a sound and its vector."""

    start_s: float = Field(examples=[0.0])
    end_s: float = Field(examples=[5.0])
    embedding: list[float] | str = Field(
        description="unit vector: numbers, or with `encoding=base64` little-endian float32 in base64",
        examples=[[0.6, 0.8]],
    )


class EmbedResponse(ResponseModel):
    """The vectors of a sound, one for each window that is not silent."""

    windows: list[EmbeddedWindow]
    dim: int = Field(description="length of a vector", examples=[64])
    encoder: str = Field(examples=["BagTopVQVAE"])
    encoder_sha256: str = Field(description="hash of encoder.pt, for `encoder` of a search", examples=["5e88…"])
    generation: GenerationName


class ModelResponse(ResponseModel):
    """The index and its encoder."""

    encoder: str = Field(examples=["BagTopVQVAE"])
    encoder_sha256: str = Field(description="hash of encoder.pt; empty: sounds cannot be embedded", examples=["5e88…"])
    dim: int = Field(description="length of a vector", examples=[64])
    sample_rate_hz: int = Field(examples=[16_000])
    window_samples: int = Field(description="length of a window", examples=[131_072])
    windows: str = Field(description="which windows of each sound were indexed: all, or the first", examples=["all"])
    hop_s: float = Field(description="distance between the starts of two windows, seconds", examples=[4.096])
    distance: str = Field(examples=["angular"])
    engine: EngineName
    generation: GenerationName
    created: str = Field(examples=["2026-01-01T00:00:00Z"])
    n_items: int = Field(examples=[400])
    n_rows: int = Field(description="number of indexed windows", examples=[400])
    boiler_version: str = Field(description="version of boiler that built the index", examples=["0.1.0"])
    limits: dict[str, float] = Field(description="limits of one request", examples=[{"max_k": 1000}])


class Health(ResponseModel):
    """The state of the service."""

    status: Literal["ok"] = "ok"
    generation: GenerationName
    engine: EngineName
    n_items: int = Field(examples=[400])
    dim: int = Field(examples=[64])
    boiler_version: str = Field(examples=["0.1.0"])
    refused: str | None = Field(
        None,
        description="why the latest index is not served, if so; an older one is. The log has the details",
        examples=[None],
    )

    sounds: Literal["available", "missing"] = Field(
        description="missing: the folder of the sounds is not here, so that audio, pictures and parts of items get 404",
        examples=["available"],
    )


class Alive(ResponseModel):
    """The process responds."""

    status: Literal["ok"] = "ok"


class Fault(ResponseModel):
    """A faulty part of the request."""

    pointer: str | None = Field(None, description="JSON pointer into the body", examples=["/embedding/3"])
    parameter: str | None = Field(None, description="name of a query parameter", examples=["k"])
    detail: str = Field(examples=["must be a finite number"])


class ProblemDetails(ResponseModel):
    """Problem details, RFC 9457."""

    type: str = Field(description="stable identifier of the kind of error", examples=["urn:boiler:problem:query-error"])
    title: str = Field(description="name of the HTTP status", examples=["Unprocessable Content"])
    status: int = Field(description="HTTP status", examples=[422])
    detail: str = Field(description="explanation for users", examples=["the vector has 3 numbers, this index has 64"])
    errors: list[Fault] = Field(default=[], description="the faulty parts of the request", examples=[[]])
    request_id: str | None = Field(None, description="id of the request in the log", examples=["2f1c9a40d3b86e57"])

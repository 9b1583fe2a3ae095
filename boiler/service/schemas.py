"""Every body that the service takes and every answer it gives, as pydantic models with examples.

What comes in is read strictly: no unknown keys, no ``"1"`` for 1, no ``true`` for 1.0, no NaN or Infinity.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from boiler.catalog.items import FIELDS
from boiler.service import media

Number = Annotated[float, Field(allow_inf_nan=False)]
ItemNumber = Annotated[int, Field(ge=0, lt=2**63, description="the item's stable number in the catalog")]
Vector = Annotated[
    list[Number],
    Field(min_length=1, max_length=65_536, description="as long as the index's vectors: see `dim` of GET /model"),
]


class Part(BaseModel):
    """Which part of a sound is meant, in the address of a request."""

    model_config = ConfigDict(extra="forbid")

    start_s: float = Field(0.0, ge=0, lt=1e9, allow_inf_nan=False, description="where the part begins, seconds")
    end_s: float | None = Field(
        None,
        ge=media.LEAST_PART_S,
        lt=1e9,
        allow_inf_nan=False,
        description="where it ends, seconds; without: at the sound's end",
    )


class Asked(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Answer(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(frozen=True)


class NearestRequest(Asked):
    """A vector to find neighbours of; its length counts for nothing, only its direction."""

    embedding: Vector


class Neighbour(Answer):
    """An item near to what was asked, with where in it the sound is that matched."""

    id: str = Field(description="path below the folder that was indexed", examples=["dog/1-100032-A.ogg"])
    n: int = Field(description="the item's stable number, for addresses", examples=[17])
    url: str = Field(description="what the index's URL template made of the id", examples=["dog/1-100032-A.ogg"])
    label: str | None = Field(description="its label, where the collection has labels", examples=["dog"])
    start_s: float = Field(description="where the part that matched begins, seconds", examples=[0.0])
    end_s: float = Field(description="where it ends, seconds", examples=[5.0])
    distance: float = Field(description="sqrt(2 (1 - similarity)): 0 the same, 2 the opposite", examples=[0.37])
    similarity: float = Field(description="the cosine: 1 the same, -1 the opposite", examples=[0.931])


class SeedRequest(Asked):
    """What a query starts from: a vector, or an item or a part of one."""

    embedding: Vector | None = None
    n: ItemNumber | None = None
    start_s: Annotated[float, Field(ge=0, lt=1e9, description="where the part of the item begins, seconds")] = 0.0
    end_s: Annotated[float | None, Field(ge=0.001, lt=1e9, description="where it ends; without: at its end")] = None
    weight: Annotated[float, Field(ge=-100, le=100, description="how much it counts; below 0: unlike this")] = 1.0


class BatchRequest(Asked):
    """Several queries in one request."""

    queries: Annotated[list[SeedRequest], Field(min_length=1, max_length=10_000)]
    k: Annotated[int, Field(ge=1, description="neighbours of each")] = 10


class BatchAnswer(Answer):
    """One list of neighbours for each query, in the order asked."""

    results: list[list[Neighbour]]
    engine: str = Field(examples=["exact"])
    generation: str = Field(examples=["000003-1a2b3c4d"])


class GroupCap(Asked):
    """No group fills the list."""

    field: Annotated[str, Field(max_length=200, description="label, folder, or metadata.NAME", examples=["label"])] = (
        "folder"
    )
    most: Annotated[int, Field(ge=1, lt=2**31, description="answers of one group, at most")] = 1


class QueryRequest(Asked):
    """All that search offers: several seeds with weights, filters, and what the list should be like."""

    seeds: Annotated[list[SeedRequest], Field(min_length=1, max_length=100)]
    k: Annotated[int, Field(ge=1, description="answers, at most `max_k` of GET /model")] = 10
    where: Annotated[
        dict[str, Any] | None,
        Field(
            description='only items that pass: {"label": "dog"}, {"duration_s": {"<": 5}}, {"under": "loops"}, '
            '{"and": [...]}, {"or": [...]}, {"not": {...}}; fields are those of an item, and metadata.NAME',
            examples=[{"duration_s": {">=": 0.5}}],
        ),
    ] = None
    without: Annotated[
        list[ItemNumber], Field(max_length=10_000, description="items to leave out, such as those heard already")
    ] = []
    min_similarity: Annotated[float | None, Field(ge=-1, le=1, description="only what is at least so similar")] = None
    per_window: Annotated[bool, Field(description="each window that matches is an answer, not each item")] = False
    fold_nearer_than: Annotated[
        float | None,
        Field(ge=0, le=2, description="items nearer to each other than this, and equally long, are one answer"),
    ] = None
    per_group: Annotated[GroupCap | None, Field(description="at most so many answers of a group")] = None
    diversity: Annotated[float, Field(ge=0, le=1, description="how unlike those before it an answer should be")] = 0.0
    set_back_hubs: Annotated[bool, Field(description="what is near to everything must be nearer to be taken")] = False
    feedback: Annotated[bool, Field(description="heed what was judged of answers to this question")] = True
    who: Annotated[
        str | None, Field(min_length=1, max_length=200, description="heed the judgements of this person alone")
    ] = None


class QueryMatch(Neighbour):
    """An answer of a query, with what is known of the match besides."""

    closer_than: float = Field(description="share of random pairs that are farther apart, 0 to 1", examples=[0.98])
    asked_start_s: float | None = Field(description="where in the sound asked with it matched", examples=[0.0])
    asked_end_s: float | None = Field(description="where that ends", examples=[5.0])
    folded: list[str] = Field(description="ids of near-duplicates that it stands for", examples=[[]])


class QueryAnswer(Answer):
    """The answers of a query, best first."""

    results: list[QueryMatch]
    engine: str = Field(examples=["exact"])
    generation: str = Field(examples=["000003-1a2b3c4d"])
    reason: str | None = Field(description="why there are fewer than asked, when there are", examples=[None])


_ITEM_FIELDS: dict[str, Any] = {
    field.name: (field.type, Field(description=field.description, examples=[field.example]))
    for field in FIELDS
    if field.served
}
Item = create_model("Item", __base__=Answer, __doc__="What the index knows of one sound.", **_ITEM_FIELDS)


class ItemPage(Answer):
    """A page of the items, in the order of their numbers."""

    items: list[Item]  # type: ignore[valid-type]  # made of the fields of an item
    offset: int = Field(examples=[0])
    more: bool = Field(description="whether there are items after these", examples=[True])


class Waveform(Answer):
    """A waveform to draw: column ``i`` reaches from ``low[i]`` to ``high[i]``."""

    n: int = Field(examples=[17])
    start_s: float = Field(examples=[0.0])
    end_s: float = Field(examples=[5.0])
    points: int = Field(examples=[2])
    low: list[float] = Field(description="-1 to 1", examples=[[-0.71, -0.2]])
    high: list[float] = Field(description="-1 to 1", examples=[[0.69, 0.21]])


class EmbeddedWindow(Answer):
    """A stretch of the sound and its vector."""

    start_s: float = Field(examples=[0.0])
    end_s: float = Field(examples=[5.0])
    embedding: list[float] | str = Field(
        description="unit length: numbers, or with `encoding=base64` little-endian float32 in base64",
        examples=[[0.6, 0.8]],
    )


class EmbedAnswer(Answer):
    """The vectors of a sound, one for each window that is not silent."""

    windows: list[EmbeddedWindow]
    dim: int = Field(examples=[64])
    encoder: str = Field(examples=["BagTopVQVAE"])
    generation: str = Field(examples=["20260101T000000Z-1a2b3c4d"])


class Model(Answer):
    """What answers: the index and the encoder it is bound to."""

    encoder: str = Field(examples=["BagTopVQVAE"])
    encoder_sha256: str = Field(description="empty: sounds cannot be embedded here", examples=["5e88…"])
    dim: int = Field(description="length of a vector", examples=[64])
    sample_rate_hz: int = Field(examples=[16_000])
    window_samples: int = Field(description="samples of one window", examples=[131_072])
    windows: str = Field(description="which windows of a sound were indexed", examples=["all"])
    hop_s: float = Field(examples=[4.096])
    distance: str = Field(examples=["angular"])
    engine: str = Field(examples=["exact"])
    generation: str = Field(examples=["20260101T000000Z-1a2b3c4d"])
    created: str = Field(examples=["2026-01-01T00:00:00Z"])
    n_items: int = Field(examples=[400])
    n_rows: int = Field(examples=[400])
    boiler_version: str = Field(description="that made the index", examples=["0.1.0"])
    limits: dict[str, float] = Field(description="what one request may ask for", examples=[{"max_k": 1000}])


class Health(Answer):
    """Whether the service answers, with what."""

    status: Literal["ok"] = "ok"
    generation: str = Field(examples=["20260101T000000Z-1a2b3c4d"])
    engine: str = Field(examples=["exact"])
    n_items: int = Field(examples=[400])
    dim: int = Field(examples=[64])
    boiler_version: str = Field(examples=["0.1.0"])
    refused: str | None = Field(
        None, description="why a newer index was not taken up, when there is one that cannot be", examples=[None]
    )


class Alive(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Fault(Answer):
    """Which part of the request is meant, and what is wrong with it."""

    pointer: str | None = Field(None, description="JSON pointer into the body", examples=["/embedding/3"])
    parameter: str | None = Field(None, description="name of a parameter of the address", examples=["k"])
    detail: str = Field(examples=["must be a finite number"])


class ProblemDetails(Answer):
    """Problem details, RFC 9457."""

    type: str = Field(description="stable; tell errors apart by this", examples=["urn:boiler:problem:query-error"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["the vector has 3 numbers, this index has 64"])
    errors: list[Fault] = Field(default=[], examples=[[]])
    request_id: str | None = Field(None, examples=["2f1c9a40d3b86e57"])

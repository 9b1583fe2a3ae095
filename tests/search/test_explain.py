"""An explanation sums to the similarity and points at the seconds that contribute to it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sounds import tone, write
from torch import Tensor

from boiler.audio import stream, synthesis
from boiler.audio.windows import cut_windows
from boiler.encoder import Encoder
from boiler.encoder.bag_bottom import BagBottomVQVAE
from boiler.encoder.bag_top import BagTopVQVAE
from boiler.encoder.mfcc_stats import MFCCStats
from boiler.errors import ModelDirError, NotASoundError, QueryError, SilentSoundError, UnknownItemError
from boiler.model import checkpoint
from boiler.search import explain, seeds
from boiler.search.explain import CURVE_S, Explanation, Moment
from boiler.search.nearest import ByItem, BySamples, BySound, ByVector, ByWindows, Nearest, TimeSpan
from boiler.store import generation
from boiler.store.generation import Header, Item

RATE = 16_000
LOW, HIGH = 750.0, 5_250.0  # hertz: A and B


class Bands(Encoder):
    """Counts 16 codes, one per band of 500 Hz, in each of 64 segments of a window."""

    def __init__(self) -> None:
        super().__init__(16)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.activations(waveform).mean(dim=2).sqrt()

    @torch.jit.export
    def activations(self, waveform: Tensor) -> Tensor:
        pieces = waveform[:, 0].reshape(waveform.shape[0], 64, -1)
        power = torch.fft.rfft(pieces).abs().square()[:, :, 1:].reshape(waveform.shape[0], 64, 16, -1).sum(dim=3)
        power = power + 1e-9
        return (power / power.sum(dim=2, keepdim=True)).transpose(1, 2)


def a_then_b(seconds: float = 6.0) -> stream.Samples:
    return np.concatenate([tone(LOW, seconds / 2, RATE), tone(HIGH, seconds / 2, RATE)]).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    drawn = np.random.default_rng(3)
    made = {
        "a.wav": tone(LOW, 2.0, RATE),
        "b.wav": tone(HIGH, 2.0, RATE),
        "a_then_b.wav": a_then_b(),
        "short.wav": tone(HIGH, 0.3, RATE),
        "tiny.wav": tone(HIGH, 0.02, RATE),
        "long.wav": np.concatenate([tone(LOW, 30, RATE), tone(HIGH, 12, RATE), tone(LOW, 18, RATE)]),
        "steps.wav": np.concatenate([tone(hertz, 5, RATE) for hertz in (LOW, 1_750, 2_750, 3_750)]),
        "gap.wav": np.concatenate([tone(HIGH, 1, RATE), np.zeros(RATE), 1e-3 * tone(HIGH, 1, RATE)]),
        "silent.wav": np.zeros(RATE),
        "bell.wav": synthesis.bell(drawn)[: 3 * RATE],
        "rain.wav": synthesis.rain(drawn)[: 3 * RATE],
    }
    for name, samples in made.items():
        write(folder / name, np.clip(samples / max(np.abs(samples).max(), 0.5) / 2, -1, 1), RATE)
    return folder


def indexed(encoder: Encoder, sounds: Path, model_dir: Path) -> Path:
    """An index of the folder, published from arrays."""
    paths = sorted(sounds.glob("*.wav"))
    vectors, rows = [], []
    for n, path in enumerate(paths):
        windows = [one for one in cut_windows(stream.stream(path)) if not one.silent]
        rows += [(n, one.start_s, one.end_s) for one in windows]
        if windows:
            with torch.inference_mode():
                vectors.append(encoder(torch.from_numpy(np.stack([one.samples for one in windows]))[:, None]).numpy())
    script = model_dir.parent / f"{model_dir.name}.pt"
    checkpoint.save_script(encoder, script, {"encoder": type(encoder).__name__})
    generation.publish(
        model_dir,
        Header(encoder=type(encoder).__name__, dim=encoder.dim),
        np.concatenate(vectors),
        np.array(rows, generation.ROW),
        [Item(n, path.name, silent=path.stem == "silent") for n, path in enumerate(paths)],
        encoder_pt=script,
        meta={"wav_dir": str(sounds)},
    )
    return model_dir


@pytest.fixture(scope="module")
def model_dir(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return indexed(Bands(), sounds, tmp_path_factory.mktemp("bands") / "model")


@pytest.fixture
def nearest(model_dir: Path) -> Nearest:
    return Nearest(model_dir)


def curve_within(curve: tuple[Moment, ...], start_s: float, end_s: float) -> list[float]:
    return [one.similarity for one in curve if one.start_s >= start_s - 1e-6 and one.end_s <= end_s + 1e-6]


def tiled(curve: tuple[Moment, ...], start_s: float, end_s: float) -> bool:
    """Whether the spans cover this part, in order, without gaps."""
    ends = [curve[0].start_s, *(one.end_s for one in curve)]
    return (
        abs(ends[0] - start_s) < 1e-3
        and abs(ends[-1] - end_s) < 1e-3
        and all(one.start_s == end < one.end_s for one, end in zip(curve, ends, strict=False))
    )


@pytest.fixture(scope="module")
def few(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    for name in ("a_then_b.wav", "b.wav", "short.wav", "bell.wav", "rain.wav"):
        (folder / name).write_bytes((sounds / name).read_bytes())
    return folder


@pytest.mark.parametrize("kind", [Bands, BagTopVQVAE, BagBottomVQVAE, MFCCStats])
def test_it_sums_to_the_similarity_with_every_kind_of_encoder(
    kind: type[Encoder], few: Path, checkpoint_path: Path, tmp_path: Path
) -> None:
    made: Callable[..., Encoder] = kind
    encoder = made() if kind is Bands else made(None if kind is MFCCStats else checkpoint_path).eval()
    nearest = Nearest(indexed(encoder.requires_grad_(False), few, tmp_path / "model"))
    for question in ("short.wav", "rain.wav"):
        for match in nearest.by_item(question, k=2):
            explanation = nearest.explain(ByItem(question), match.n)
            assert explanation.similarity == pytest.approx(match.similarity, abs=1e-5)
            if kind is MFCCStats:
                assert (explanation.kind, explanation.codes) == ("windows", ())
            else:
                shares = [one.share for one in explanation.codes]
                assert explanation.kind == "codes"
                assert sum(shares) == pytest.approx(explanation.similarity, abs=1e-5)
                assert shares == sorted(shares, reverse=True)
                assert all(one.query_spans and one.answer_spans for one in explanation.codes)
    # With every encoder, the seconds of b are more similar to b.
    curve = nearest.explain(ByItem("a_then_b.wav"), "b.wav").query_curve
    in_a, in_b = curve_within(curve, 0, 3), curve_within(curve, 3, 6)
    assert len(in_a) == len(in_b) == 6
    assert max(in_a) < min(in_b)


def test_a_then_b_is_similar_to_b_in_the_seconds_of_b(nearest: Nearest) -> None:
    explanation = nearest.explain(ByItem("a_then_b.wav"), "b.wav")
    first = explanation.codes[0]
    assert first.code == int(HIGH // 500)
    assert first.share > 0.99 * explanation.similarity
    ((start_s, end_s),) = first.query_spans
    assert (start_s, end_s) == pytest.approx((3, 6), abs=0.15)
    assert first.answer_spans == (pytest.approx((0, 2), abs=1e-9),)
    assert tiled(explanation.query_curve, 0, 6)
    assert max(curve_within(explanation.query_curve, 0, 2.9)) < 0.1
    assert min(curve_within(explanation.query_curve, 3.1, 6)) > 0.9
    # Each span of b is as similar to the whole answer as b itself.
    assert [one.similarity for one in explanation.answer_curve] == pytest.approx([explanation.similarity] * 4, abs=1e-3)


def test_every_kind_of_query_gives_the_same_codes(nearest: Nearest, sounds: Path) -> None:
    expected = nearest.explain(ByItem("a_then_b.wav"), "b.wav")
    content = (sounds / "a_then_b.wav").read_bytes()
    samples = stream.load(content)
    once = io.BytesIO(content)
    once.seekable = lambda: False  # type: ignore[method-assign]  # as a socket: it can be read once
    embedded = nearest.embed(content)
    for question in (
        BySound(sounds / "a_then_b.wav"),
        BySound(content),
        BySound(io.BytesIO(content)),
        BySound(once),
        BySamples(samples, RATE),
        ByItem(nearest.item("a_then_b.wav").n),
        ByWindows([one.vector for one in embedded], [one.window for one in embedded], content),
    ):
        explanation = nearest.explain(question, nearest.item("b.wav").n)
        same(explanation, expected)


def same(explanation: Explanation, expected: Explanation) -> None:
    assert explanation.similarity == pytest.approx(expected.similarity, abs=1e-5)
    assert [one.code for one in explanation.codes[:1]] == [one.code for one in expected.codes[:1]]
    assert explanation.codes[0].query_spans == expected.codes[0].query_spans
    for mine, theirs in (
        (explanation.query_curve, expected.query_curve),
        (explanation.answer_curve, expected.answer_curve),
    ):
        assert [one.similarity for one in mine] == pytest.approx([one.similarity for one in theirs], abs=1e-5)


@pytest.mark.parametrize("by", ["item", "sound", "samples"])
def test_a_part_keeps_the_times_of_the_whole(nearest: Nearest, sounds: Path, by: str) -> None:
    path, part = sounds / "long.wav", (28.0, 34.0)
    question = {
        "item": ByItem("long.wav", *part),
        "sound": BySound(path, *part),
        "samples": BySamples(stream.load(path), RATE, *part),
    }[by]
    explanation = nearest.explain(question, "b.wav")
    assert explanation.windows[0].query == part
    assert tiled(explanation.query_curve, *part)
    assert explanation.codes[0].query_spans == (pytest.approx((30, 34), abs=0.15),)
    assert max(curve_within(explanation.query_curve, 28, 30)) < 0.1
    assert min(curve_within(explanation.query_curve, 30, 34)) > 0.9


def test_the_curve_of_a_long_sound_is_around_the_matched_window(nearest: Nearest) -> None:
    explanation = nearest.explain(ByItem("b.wav"), "long.wav")
    start_s, end_s = explanation.windows[0].answer
    assert start_s >= 28
    assert end_s <= 44
    assert explanation.answer_curve[-1].end_s - explanation.answer_curve[0].start_s == pytest.approx(CURVE_S, abs=1e-3)
    middle_s = (explanation.answer_curve[0].start_s + explanation.answer_curve[-1].end_s) / 2
    assert middle_s == pytest.approx((start_s + end_s) / 2, abs=1e-3)
    assert min(curve_within(explanation.answer_curve, 30.6, 41.4)) > 0.9
    assert max(curve_within(explanation.answer_curve, 0, 29.4), default=0) < 0.1
    # The query is one window, and each window of the answer is a match, best first.
    assert len(explanation.windows) == len(list(cut_windows(stream.stream(nearest.path("long.wav")))))
    assert {one.query for one in explanation.windows} == {TimeSpan(0.0, 2.0)}
    assert [one.similarity for one in explanation.windows] == sorted(
        (one.similarity for one in explanation.windows), reverse=True
    )


def test_the_windows_are_those_that_the_search_matched(nearest: Nearest) -> None:
    for question, answer in (("steps.wav", "a.wav"), ("a.wav", "steps.wav")):
        match = next(one for one in nearest.by_item(question, k=20) if one.id == answer)
        explanation = nearest.explain(ByItem(question), answer)
        assert explanation.windows[0].answer == (match.start_s, match.end_s)
        assert explanation.windows[0].query == (match.query_start_s, match.query_end_s)
        assert explanation.windows[0].similarity > explanation.windows[1].similarity + 0.1


def test_each_window_of_the_longer_side_has_its_best_match(nearest: Nearest) -> None:
    forth, back = nearest.explain(ByItem("long.wav"), "b.wav"), nearest.explain(ByItem("b.wav"), "long.wav")
    assert [(one.query, one.answer) for one in forth.windows] == [(one.answer, one.query) for one in back.windows]
    assert forth.query_curve == back.answer_curve
    assert forth.similarity == pytest.approx(back.similarity, abs=1e-9)


@pytest.mark.parametrize(("name", "seconds", "moments"), [("short.wav", 0.3, 3), ("tiny.wav", 0.02, 1)])
def test_short_sounds_have_a_curve_within_their_length(
    nearest: Nearest, name: str, seconds: float, moments: int
) -> None:
    explanation = nearest.explain(ByItem(name), "b.wav")
    assert tiled(explanation.query_curve, 0, seconds)
    assert len(explanation.query_curve) == moments
    assert min(one.similarity for one in explanation.query_curve) > 0.9
    assert explanation.codes[0].query_spans == (pytest.approx((0, seconds), abs=1e-6),)


def test_silence_and_very_quiet_parts_have_no_similarity(nearest: Nearest) -> None:
    explanation = nearest.explain(ByItem("gap.wav"), "b.wav")
    assert min(curve_within(explanation.query_curve, 0, 1)) > 0.9
    assert curve_within(explanation.query_curve, 1, 3) == [0.0] * 4


def test_a_part_at_a_tenth_of_the_level_is_no_silence(nearest: Nearest) -> None:
    loud = tone(HIGH, 1.0, RATE)
    samples = np.concatenate([loud, 0.1 * loud]) / 2
    explanation = nearest.explain(BySamples(samples, RATE), "b.wav")
    assert min(curve_within(explanation.query_curve, 0, 2)) > 0.9


@pytest.mark.parametrize("seconds", [0.01, 0.13, 0.4, 1.0, 2.5, 5.0, 7.9, 8.192])
def test_spans_of_a_repeated_sound_are_folded_into_its_length(seconds: float) -> None:
    frames, part = 32, TimeSpan(3.0, 3.0 + seconds)
    steady = explain._fold_repetitions(np.ones((2, frames)), part, 8.192)
    np.testing.assert_allclose(steady, 1)
    assert steady.shape[1] == max(1, int(seconds / 0.256 + 1e-6))
    assert explain._active_spans(steady[0], part) == (pytest.approx(part),)
    # A code in the second half of each repetition.
    middles = (np.arange(frames) + 0.5) * 0.256
    half = explain._fold_repetitions((middles % seconds >= seconds / 2).astype(float)[None], part, 8.192)[0]
    if len(half) > 1:
        assert explain._active_spans(half, part) == (pytest.approx((3 + seconds / 2, 3 + seconds), abs=0.4),)


def test_an_encoder_without_activations_explains_by_windows(sounds: Path, tmp_path: Path) -> None:
    class Old(Encoder):
        def __init__(self) -> None:
            super().__init__(16)
            self.bands = Bands()

        def forward(self, waveform: Tensor) -> Tensor:
            return self.bands(waveform)  # type: ignore[no-any-return]

    explanation = Nearest(indexed(Old(), sounds, tmp_path / "model")).explain(ByItem("a_then_b.wav"), "b.wav")
    assert (explanation.kind, explanation.codes) == ("windows", ())
    assert min(curve_within(explanation.query_curve, 3.1, 6)) > 0.9


def test_deprecated_names_still_work(nearest: Nearest) -> None:
    explanation = nearest.explain(ByItem("a_then_b.wav"), "b.wav")
    with pytest.deprecated_call(match="Explanation.words"):
        assert explanation.words == explanation.codes
    with pytest.deprecated_call(match="CodeShare.word"):
        assert explanation.codes[0].word == explanation.codes[0].code
    with pytest.deprecated_call(match="WordShare"):
        assert explain.WordShare is explain.CodeShare


@pytest.mark.parametrize(
    ("query", "item", "error", "message"),
    [
        ([ByItem("a.wav"), ByItem("b.wav")], "a.wav", QueryError, "one of them at a time"),
        (ByVector([1.0] * 16), "a.wav", QueryError, "a vector cannot be explained"),
        (ByWindows([[1.0] * 16], [(0.0, 2.0)]), "a.wav", QueryError, "a vector cannot be explained"),
        ([], "a.wav", QueryError, "at least one seed"),
        (ByItem("a.wav"), "nothing.wav", UnknownItemError, "nothing.wav"),
        (ByItem("nothing.wav"), "a.wav", UnknownItemError, "nothing.wav"),
        (ByItem("a.wav"), 99, UnknownItemError, "99"),
        (ByItem("silent.wav"), "a.wav", SilentSoundError, "silent"),
        (ByItem("a.wav"), "silent.wav", SilentSoundError, "silent"),
        (BySamples(np.zeros(RATE), RATE), "a.wav", SilentSoundError, "silent"),
        (ByItem("a.wav", 3.0, 2.0), "a.wav", QueryError, "ends after its start"),
        (BySound(b"no sound"), "a.wav", NotASoundError, "the sound given"),
    ],
)
def test_invalid_explanations_are_refused(
    nearest: Nearest, query: Any, item: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        nearest.explain(query, item)


def test_progress_is_reported_and_can_stop_it(nearest: Nearest) -> None:
    shares: list[float] = []
    nearest.explain(ByItem("a_then_b.wav"), "long.wav", on_progress=shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert 0 <= shares[0] < shares[-1] < 1

    def enough(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nearest.explain(ByItem("a_then_b.wav"), "long.wav", on_progress=enough)


def test_without_the_sounds_it_is_refused(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="the folder of the sounds"):
        Nearest(model_dir, wav_dir=tmp_path / "away").explain(ByItem("a.wav"), "b.wav")


def test_a_sound_that_changed_since_indexing_is_refused(sounds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        (folder / name).write_bytes((sounds / name).read_bytes())
    nearest = Nearest(indexed(Bands(), folder, tmp_path / "model"))
    write(folder / "b.wav", tone(LOW, 2.0, RATE), RATE)
    with pytest.raises(QueryError, match=r"b\.wav changed since it was indexed"):
        nearest.explain(ByItem("a.wav"), "b.wav")
    write(folder / "b.wav", tone(LOW, 0.001, RATE), RATE)
    with pytest.raises(QueryError, match=r"b\.wav changed since it was indexed"):
        nearest.explain(ByItem("a.wav"), "b.wav")


def test_without_encoder_it_is_refused(sounds: Path, tmp_path: Path) -> None:
    model_dir = indexed(Bands(), sounds, tmp_path / "model")
    nearest = Nearest(model_dir)
    (nearest._context.snapshot.generation.path / "encoder.pt").unlink()
    with pytest.raises(ModelDirError, match="not the encoder"):
        nearest.explain(ByItem("a.wav"), "b.wav")


def test_the_number_of_windows_is_bounded(nearest: Nearest) -> None:
    samples = np.tile(a_then_b(), 60)  # six minutes
    explanation = nearest.explain(BySamples(samples, RATE), "b.wav")
    assert len(explanation.windows) == explain.MAX_WINDOW_MATCHES
    assert len(explanation.query_curve) <= round(CURVE_S / explain.STRETCH_S)
    assert len(seeds.evenly_spaced(range(1000))) > explain.MAX_WINDOW_MATCHES

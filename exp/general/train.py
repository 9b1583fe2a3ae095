"""Train the general encoder: `python -m exp.general.train --corpus DIR --minutes 60 --out general.pt`.

Needs DIR/crops (`exp.general.teachers`): spectrograms of crops and what the teachers say of them. Crops of crops, pitch,
tempo, filters, noise, mixing, reverb and missing high bands are drawn on the spectrograms.

Four objectives share one network: `boiler.model.general`, or with `--network patch` that of `boiler.model.patch`.

* regression   a linear map of the vector points where the teachers' vectors do
* relations    who is near to whom in a batch is as each teacher sees it (Park et al., 2019)
* contrast     two views of one crop, or of one word by two speakers, are nearer than other crops (NT-Xent; Chen et al., 2020)
* labels       words of the files' names, one logistic regression a word

A crop that another one is mixed into has the weighted mean of both teachers' vectors (mixup). A teacher that did not hear
a crop says nothing about it. The run resumes from `--out` when that exists; the learning rate follows the minutes of the
sitting. Weights are averaged over steps (EMA); what is evaluated and exported is the average. Prints a line every 25 steps
and, at every save, what the average reaches on clips kept out of training.

`--export FILE` writes the averaged network as safetensors, as `boiler.encoder.general` or `boiler.encoder.patch` reads it,
and does nothing else.
"""

from __future__ import annotations

import argparse
import collections
import copy
import hashlib
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from boiler.model.general import GeneralNetwork, GeneralSettings, scaled
from boiler.model.patch import PatchNetwork, PatchSettings
from exp.general.corpus import SAID
from exp.general.teachers import LOWEST, clips_of

HELD_OUT = 20  # one clip in so many
LABELS_AT_LEAST = 8
TEACHERS = {"aisfx": 512, "speech": 192}
FRAMES = (48, 96, 128, 186)
"""Of a view: .6 to 2.3 s."""
OTHER_SPEAKER = 0.7
"""How often the second view of a crop that says a word is another crop that says it."""


class Crops:
    """All crops: spectrograms [N, F, M] in decades, teachers' vectors (NaN: not heard), labels."""

    def __init__(self, root: Path) -> None:
        parts = [np.load(path) for path in sorted((root / "crops").glob("[0-9]*.npz"))]
        if not parts:
            raise SystemExit(f"{root}/crops is empty: python -m exp.general.teachers")
        removed = root / "duplicates.txt"
        left_out = set(removed.read_text("utf-8").split("\n")) if removed.is_file() else set()
        names = np.concatenate([part["clip"] for part in parts])
        kept = np.array([name not in left_out for name in names])
        self.names = [str(name) for name in names[kept]]
        self.mels: NDArray[np.float16] = np.concatenate([part["mel"] for part in parts])[kept]
        self.teachers: dict[str, Tensor] = {}
        for name in TEACHERS:
            vectors = torch.from_numpy(np.concatenate([part[name] for part in parts])[kept].astype(np.float32))
            heard = ~vectors.isnan().any(dim=1)
            known = vectors[heard]
            vectors[heard] = functional.normalize((known - known.mean(dim=0)) / (known.std(dim=0) + 1e-3), dim=1)
            self.teachers[name] = vectors
        clips = {clip["file"]: clip for clip in clips_of(root)}
        counts = collections.Counter(label for clip in clips.values() for label in clip["labels"])
        self.words = sorted(word for word, n in counts.items() if LABELS_AT_LEAST <= n < len(clips) / 4)
        number = {word: n for n, word in enumerate(self.words)}
        self.labels = [[number[word] for word in clips[name]["labels"] if word in number] for name in self.names]
        order = np.array([int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) for name in self.names])
        self.categories = np.array([clips[name]["category"] for name in self.names])
        self.held_out = np.flatnonzero(order % HELD_OUT == 0)
        self.train = np.flatnonzero(order % HELD_OUT != 0)
        self.said: dict[int, NDArray[np.int64]] = {}
        """Of a crop that says a word: the crops that say the same, by any speaker."""
        for word in (word for word in self.words if word.startswith(SAID)):
            same = np.array([n for n in self.train if number[word] in self.labels[n]])
            self.said |= dict.fromkeys(same.tolist(), same)

    def probabilities(self, factors: dict[str, float]) -> NDArray[np.float64]:
        """Of each crop in `train` to be drawn first; crops of a category count so many times as much."""
        weight = np.array([factors.get(category, 1.0) for category in self.categories[self.train]])
        return weight / weight.sum()

    def view(self, n: int, frames: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """`frames` of a crop from a random place on, where there is sound."""
        mel = self.mels[n]
        last = int(np.flatnonzero(mel.max(axis=1) > LOWEST + 2)[-1:].max(initial=0)) + 1
        begin = int(rng.integers(0, max(last - frames, 0) + 1))
        return mel[begin : begin + frames].astype(np.float32)


def augment(log: Tensor, rng: np.random.Generator, settings: GeneralSettings) -> Tensor:
    """Views as other microphones, rooms, voices, hands and codecs would give them. Shape: [B, F, M] decades to power."""
    b, frames, bands = log.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, shape or (b, 1, 1)).astype(np.float32))

    def some(share: float) -> Tensor:
        return torch.from_numpy(rng.random((b, 1, 1)) < share)

    # Tempo and pitch: one resampling of both axes. A band is about a third of a semitone low and two high.
    tempo = uniform(0.85, 1.18, b)
    pitch = uniform(-2.0, 2.0, b) * (2 / bands) * torch.from_numpy((rng.random(b) < 0.5).astype(np.float32))
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = 1.0, pitch
    theta[:, 1, 1], theta[:, 1, 2] = tempo, tempo - 1
    grid = functional.affine_grid(theta, [b, 1, frames, bands], align_corners=False)
    log = functional.grid_sample(log[:, None] - LOWEST, grid, padding_mode="zeros", align_corners=False)[:, 0] + LOWEST
    power = 10**log
    # Equalisation: a smooth curve.
    curve = functional.interpolate(torch.randn(b, 1, 6) * 0.3, size=bands, mode="linear", align_corners=True)
    power = power * 10 ** (curve * some(0.7))
    # Background noise of any slope.
    slope = torch.linspace(-0.5, 0.5, bands)[None, None] * uniform(-3, 1)
    loudest = power.amax(dim=(1, 2), keepdim=True).clamp(min=1e-9)
    power = power + 10 ** (uniform(-6.5, -2.5) + slope) * (0.5 + torch.rand(b, frames, bands)) * loudest * some(0.4)
    # A file that ends at 4, 5.5, 8 or 11 kHz.
    mels = torch.linspace(_mel(settings.f_min_hz), _mel(settings.f_max_hz), bands)
    limit = torch.from_numpy(rng.choice([3_900.0, 5_400.0, 7_900.0, 10_900.0], (b, 1, 1)).astype(np.float32))
    cut = (mels[None, None] > 2595 * (1 + limit / 700).log10()) & some(0.25)
    return power.masked_fill(cut, 0).clamp(min=1e-20)


def _mel(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)


class Student(nn.Module):
    """The network and the heads that only training needs."""

    def __init__(self, settings: GeneralSettings | PatchSettings, n_words: int) -> None:
        super().__init__()
        self.network = PatchNetwork(settings) if isinstance(settings, PatchSettings) else GeneralNetwork(settings)
        self.norm = nn.BatchNorm1d(settings.dim, affine=False)
        self.project = nn.Sequential(
            nn.Linear(settings.dim, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128, bias=False)
        )
        self.teach = nn.ModuleDict({name: nn.Linear(settings.dim, dim) for name, dim in TEACHERS.items()})
        self.words = nn.Linear(settings.dim, n_words)
        nn.init.constant_(self.words.bias, -6.0)  # a word is rare: at even odds its loss would drown the others

    def forward(self, mel: Tensor) -> Tensor:
        return self.norm(self.network(mel))


def losses(student: Student, z: Tensor, teachers: dict[str, Tensor], words: Tensor) -> dict[str, Tensor]:
    """`z` [2 B, D]: both views of B crops; `teachers` [2 B, d] each, NaN: said nothing; `words` [2 B, W] 0 to 1."""
    b = len(z) // 2
    own = torch.eye(2 * b, dtype=torch.bool)
    p = functional.normalize(student.project(z), dim=1)
    contrast = functional.cross_entropy((p @ p.T / 0.15).masked_fill(own, -1e4), torch.arange(2 * b).roll(b))
    direct = functional.normalize(z, dim=1)
    regression, relations = z.new_zeros(()), z.new_zeros(())
    for name, both in teachers.items():
        heard = ~both.isnan().any(dim=1)
        if int(heard.sum()) < 8:
            continue
        target, share = functional.normalize(both[heard], dim=1), heard.float().mean()
        said = functional.normalize(student.teach[name](z[heard]), dim=1)
        regression = regression + share * (1 - (said * target).sum(dim=1)).mean()
        same = own[heard][:, heard]
        wanted = (target @ target.T / 0.1).masked_fill(same, -1e4).softmax(dim=1)
        found = (direct[heard] @ direct[heard].T / 0.1).masked_fill(same, -1e4)
        relations = relations + share * functional.kl_div(found.log_softmax(dim=1), wanted, reduction="batchmean")
    label = functional.binary_cross_entropy_with_logits(student.words(z), words, reduction="none")
    return {
        "regression": 4 * regression,
        "relations": relations,
        "contrast": 0.3 * contrast,
        "labels": 0.05 * label.sum(dim=1).mean(),
    }


@torch.inference_mode()
def held_out(student: Student, crops: Crops, settings: GeneralSettings) -> str:
    """On crops of clips kept out: cosine with each teacher, and how often the first answer shares a label."""
    student.eval()
    chosen = crops.held_out[:1500]
    vectors = []
    for begin in range(0, len(chosen), 64):
        log = torch.from_numpy(crops.mels[chosen[begin : begin + 64]].astype(np.float32))
        vectors.append(student(scaled(10 ** log.transpose(1, 2), settings.range_db / 10)))
    z = torch.cat(vectors)
    said = []
    for name, all_vectors in crops.teachers.items():
        target = all_vectors[torch.from_numpy(chosen)]
        heard = ~target.isnan().any(dim=1)
        cosine = functional.cosine_similarity(student.teach[name](z[heard]), target[heard]).mean()
        said.append(f"{name} {float(cosine):.3f}")
    unit = functional.normalize(z, dim=1)
    near = (unit @ unit.T).fill_diagonal_(-2).argmax(dim=1).tolist()
    hits = [
        bool(set(crops.labels[chosen[i]]) & set(crops.labels[chosen[j]]))
        for i, j in enumerate(near)
        if crops.labels[chosen[i]]
    ]
    return f"held out ({len(chosen)} crops): cosine {', '.join(said)}, first shares a label {np.mean(hits):.3f}"


def batch(
    crops: Crops, numbers: NDArray[np.int64], rng: np.random.Generator, settings: GeneralSettings
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Two views [2 B, M, F] of B crops, what the teachers say, and words. A third of the crops is mixed with others.

    The second view of a crop that says a word is mostly another speaker's: near to each other shall be what is said.
    """
    b, frames = len(numbers), int(rng.choice(FRAMES, p=[0.2, 0.3, 0.3, 0.2]))
    second = [
        int(rng.choice(crops.said[n])) if n in crops.said and rng.random() < OTHER_SPEAKER else n
        for n in numbers.tolist()
    ]
    both = np.concatenate([numbers, second])
    words = torch.zeros(2 * b, len(crops.words))
    for row, n in enumerate(both):
        words[row, crops.labels[n]] = 1
    power = augment(torch.from_numpy(np.stack([crops.view(n, frames, rng) for n in both])), rng, settings)
    partner = torch.from_numpy(rng.permutation(b)).repeat(2) + torch.arange(2).repeat_interleave(b) * b
    share = torch.from_numpy((rng.uniform(0.02, 0.4, b) * (rng.random(b) < 0.33)).astype(np.float32)).repeat(2)
    for_both = share[:, None, None]
    power = power / power.amax(dim=(1, 2), keepdim=True)
    power = power * (1 - for_both) + power[partner] * for_both
    # Loudness adds up by its logarithm: a partner 10 dB below is heard as a good fourth.
    heard = share.sqrt()[:, None] * 0.6
    teachers = {}
    for name, vectors in crops.teachers.items():
        own = vectors[torch.from_numpy(both)]
        teachers[name] = torch.where(heard > 0, own * (1 - heard) + own[partner] * heard, own)
    words = torch.maximum(words, words[partner] * (heard > 0.3))
    return scaled(power.transpose(1, 2), settings.range_db / 10), teachers, words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint, also resumed from")
    parser.add_argument("--minutes", type=float, default=60.0, help="of this sitting (default: %(default)s)")
    parser.add_argument("--network", choices=("general", "patch"), default="general", help="default: %(default)s")
    parser.add_argument("--batch_size", type=int, default=48, help="crops a step, two views of each")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument(
        "--weigh", nargs="+", default=[], metavar="CATEGORY=N", help="draw crops of a category N times as often: drum=4"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the averaged weights of --out and stop")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    settings = GeneralSettings()
    if args.export:
        print(export(args.out, args.export))
        return
    crops = Crops(args.corpus)
    factors = {name: float(n) for name, _, n in (one.partition("=") for one in args.weigh)}
    if unknown := factors.keys() - set(crops.categories):
        parser.error(
            f"--weigh: no category {', '.join(sorted(unknown))}; there are {', '.join(sorted(set(crops.categories)))}"
        )
    chances = crops.probabilities(factors)
    print(f"{len(crops.names)} crops of {len(set(crops.names))} clips, {len(crops.words)} labels", flush=True)
    shape = PatchSettings() if args.network == "patch" else settings
    student = Student(shape, len(crops.words))
    optimizer = torch.optim.AdamW(student.parameters(), args.lr, weight_decay=0.02)
    step, trained_s = 0, 0.0
    average = copy.deepcopy(student).requires_grad_(False)
    if args.out.is_file():
        state = torch.load(args.out, weights_only=True)
        if state["words"] != crops.words:  # the corpus has grown: the words are learned anew
            for part in ("student", "average"):
                state[part] = {name: value for name, value in state[part].items() if not name.startswith("words.")}
        student.load_state_dict(state["student"], strict=state["words"] == crops.words)
        average.load_state_dict(state["average"], strict=state["words"] == crops.words)
        if state["words"] == crops.words:
            optimizer.load_state_dict(state["optimizer"])
        step, trained_s = state["step"], state["trained_s"]
    rng = np.random.default_rng([args.seed, step])
    first_step = step
    began = saved = time.monotonic()
    means: collections.Counter[str] = collections.Counter()
    student.train()

    def save() -> None:
        aside = args.out.with_suffix(".part")
        torch.save(
            {
                "student": student.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "trained_s": trained_s + time.monotonic() - began,
                "words": crops.words,
                "settings": asdict(shape),
            },
            aside,
        )
        aside.replace(args.out)
        print(f"step {step}: {held_out(average, crops, settings)}", flush=True)

    while (done := (time.monotonic() - began) / (60 * args.minutes)) < 1:
        lr = args.lr * min(1, (step - first_step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * done)) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = lr
        numbers = rng.choice(crops.train, args.batch_size, replace=False, p=chances)
        mel, teachers, words = batch(crops, numbers, rng, settings)
        parts = losses(student, student(mel), teachers, words)
        loss = torch.stack(list(parts.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimizer.step()
        step += 1
        keep = min(0.995, step / (step + 10))
        with torch.no_grad():
            for mean, now in zip(average.state_dict().values(), student.state_dict().values(), strict=True):
                mean.copy_(keep * mean + (1 - keep) * now if mean.is_floating_point() else now)
        means.update({name: float(value.detach()) for name, value in parts.items()})
        if step % 25 == 0:
            minutes = (time.monotonic() - began) / 60
            line = ", ".join(f"{name} {value / 25:.3f}" for name, value in means.items())
            print(f"step {step}, {minutes:.1f} min, lr {lr:.5f}: {line}", flush=True)
            means.clear()
        if time.monotonic() - saved > 300:
            saved = time.monotonic()
            save()
    save()


def export(checkpoint: Path, path: Path) -> str:
    """The averaged network with the normalisation behind it folded into its last layer."""
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    average = state["average"]
    tensors = {
        name.removeprefix("network."): value.contiguous()
        for name, value in average.items()
        if name.startswith("network.") and not name.endswith("num_batches_tracked")
    }
    scale = (average["norm.running_var"] + 1e-5).rsqrt()
    tensors["out.bias"] = (tensors["out.bias"] - average["norm.running_mean"]) * scale
    tensors["out.weight"] = tensors["out.weight"] * scale[:, None]
    metadata = {
        "format": "pt",
        "settings": json.dumps(state["settings"]),
        "steps": str(state["step"]),
        "trained_s": f"{state['trained_s']:.0f}",
        "licence": "Apache-2.0",
    }
    save_file(tensors, path, metadata)
    return f"{path}: {len(tensors)} tensors, {path.stat().st_size / 1e6:.1f} MB, {state['step']} steps"


if __name__ == "__main__":
    main()

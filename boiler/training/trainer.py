"""One training run: the settings it depends on, its steps, and its checkpoints.

Everything drawn at random in step n (which sounds, which parts, how altered, which words revived) derives from the seed
and n alone, so the state of a run is its weights, its optimiser and two numbers, and one that was stopped goes on as if
it had not been.
"""

from __future__ import annotations

import ctypes
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boiler import encoder
from boiler.encoder.vqvae_base import build_network
from boiler.errors import CheckpointError, CorpusError, SettingsError
from boiler.model import checkpoint
from boiler.model.checkpoint import Checkpoint
from boiler.model.device import resolve_device
from boiler.model.mel import LogMel, MelSettings
from boiler.model.vqvae import FINE_STRIDE, TOP_ROWS, VQVAE2, NetworkSettings
from boiler.progress import meter
from boiler.training.augment import Views
from boiler.training.dataset import Pairs, Split, Windows, prepare
from boiler.training.losses import Losses, losses
from boiler.training.tensorboard import Journal, Mean, WordUse, collapse

MIN_STEPS_PER_EPOCH = 200
"""An epoch is one pass over the segments, but in a small folder at least this many steps, so that a checkpoint is not
written every few seconds."""
VIEW_FRAMES = 48
"""One and a half seconds."""
WARM_UP_STEPS = 100
LAST_LR_SHARE = 0.02
LARGEST_GRADIENT = 5.0
WEIGHT_DECAY = 1e-4
LEARNING_SHARE = 0.05
"""Of --max_minutes, kept for what is learned at the very end."""
LEARNING_WINDOWS = 4096
LEARNING_WINDOWS_BETWEEN = 256
HELD_WINDOWS = 128
PRECISIONS = ("auto", "float32", "bfloat16")
MIN_MELS = 2 * FINE_STRIDE * TOP_ROWS


@dataclass(frozen=True)
class TrainSettings:
    """All that a run depends on, saved in its checkpoints."""

    wav_dir: Path
    save_path: Path
    load_path: Path | None = None
    epoch: int = 20
    steps_per_epoch: int | None = None
    max_minutes: float | None = None
    batch_size: int = 128
    lr: float = 2e-3
    latent_loss_weight: float = 0.25
    contrast_weight: float = 1.0
    n_mel_channels: int = 80
    held_share: float = 0.05
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    cache_dir: Path | None = None
    workers: int = 2
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def __post_init__(self) -> None:
        for name in ("epoch", "steps_per_epoch", "max_minutes", "lr", "n_mel_channels", "workers"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise SettingsError(f"--{name} is {value}: it must be more than 0")
        for name in ("latent_loss_weight", "contrast_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"--{name} is {getattr(self, name)}: it must not be less than 0")
        if self.precision not in PRECISIONS:
            raise SettingsError(f"--precision is {self.precision}: it is one of {', '.join(PRECISIONS)}")
        resolve_device(self.device)
        if self.batch_size < 2:
            raise SettingsError(f"--batch_size is {self.batch_size}: it takes two sounds to tell them apart")
        if not 0 <= self.held_share < 1:
            raise SettingsError(f"--held_share is {self.held_share}: it is a share, such as 0.05")
        if self.n_mel_channels % (FINE_STRIDE * TOP_ROWS) or self.n_mel_channels < MIN_MELS:
            raise SettingsError(
                f"--n_mel_channels is {self.n_mel_channels}: it must be 32 or more, a multiple of 16, such as 80"
            )

    @property
    def resumes(self) -> bool:
        """Whether it goes on with a run of its own folder, rather than beginning one."""
        return self.load_path is not None and self.load_path.resolve().parent == self.save_path.resolve()

    def plain(self) -> dict[str, Any]:
        """As a checkpoint holds it: paths as text."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> TrainSettings:
        """The inverse of `plain`."""
        paths = ("wav_dir", "save_path", "load_path", "cache_dir")
        known: dict[str, Any] = {name: Path(plain[name]) for name in paths if plain[name] is not None}
        return cls(**plain | known | {"network": NetworkSettings(**plain["network"])})


class Run:
    """A run, from its first step or from where a checkpoint left it.

    Raises: `CorpusError`, `CheckpointError`, `SettingsError`.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        before = self._before()
        self.device = torch.device(resolve_device(settings.device))
        self.in_halves = _in_halves(settings.precision, self.device)
        _keep_memory()
        settings.save_path.mkdir(parents=True, exist_ok=True)
        self.sounds = prepare(settings.wav_dir, settings.cache_dir or settings.save_path / "cache", settings.workers)
        if len(self.sounds.sound) < 2:
            raise CorpusError(
                f"{settings.wav_dir}: holds one short sound ({self.sounds.ids[0]}). It takes at least two, to learn "
                "what tells them apart"
            )
        self.split = Split(self.sounds, settings.held_share, settings.seed)
        torch.manual_seed(settings.seed)
        self.mel = MelSettings(**before.mel) if before else MelSettings(n_mels=settings.n_mel_channels)
        self.network = build_network(before, str(settings.load_path)) if before else VQVAE2(settings.network, self.mel)
        self.settings = replace(settings, network=self.network.settings)  # what is so, not what was asked for
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(_groups(self.network), lr=settings.lr, betas=(0.9, 0.98))
        self.step, self.spent_s = 0, 0.0
        self.of_folder: dict[str, Tensor] = {}
        if before and settings.resumes:
            self.of_folder = encoder.of_folder(before.learned)
            self.optimiser.load_state_dict(before.optimizer)
            self.step, self.spent_s = before.step, before.elapsed_s
        self.views = Views(self.mel, VIEW_FRAMES, self.device)
        self.pairs = Pairs(
            self.sounds,
            self.split.train,
            LogMel(self.mel),
            settings.batch_size,
            self.views.frames_before,
            settings.seed,
        )
        passes = math.ceil(len(self.split.train) / self.pairs.batch)
        self.steps_per_epoch = settings.steps_per_epoch or max(MIN_STEPS_PER_EPOCH, passes)
        self.last_step = settings.epoch * self.steps_per_epoch
        self.journal = Journal(settings.save_path, self.step)
        self.means = Mean()
        self.uses = {"top": WordUse(self.network.top.n_codes), "bottom": WordUse(self.network.bottom.n_codes)}
        self.warnings: list[str] = []
        self.stopped_by: int | None = None

    def _before(self) -> Checkpoint | None:
        """The checkpoint to begin from, checked before any work is done."""
        settings = self.settings
        if settings.load_path is None:
            there = sorted(settings.save_path.glob("vqvae_*.pt"))
            if there:
                raise CheckpointError(
                    f"{settings.save_path} holds a run already: go on with it by --load_path {there[-1]}, or give "
                    "another --save_path"
                )
            return None
        before = checkpoint.load(settings.load_path)
        if before.mel["n_mels"] != settings.n_mel_channels:
            raise SettingsError(
                f"--n_mel_channels is {settings.n_mel_channels}, but {settings.load_path} was trained with "
                f"{before.mel['n_mels']}: leave the flag out, or begin anew without --load_path"
            )
        return before

    def go(self) -> Path:
        """Train until --epoch or --max_minutes ends, or a signal comes; the last checkpoint written."""
        path = self.path()
        self.learn_folder()
        began = time.monotonic() - self.spent_s
        with _signals() as signals, meter("training", 1.0) as progress:
            while self.share_done() < 1 and not signals:
                self.advance()
                self.spent_s = time.monotonic() - began
                if self.step % self.steps_per_epoch == 0 and self.share_done() < 1 and not signals:
                    path = self.close_epoch(LEARNING_WINDOWS_BETWEEN)
                    self.spent_s = time.monotonic() - began
                progress.reach(min(self.share_done(), 1.0), self.note())
        self.stopped_by = signals[0] if signals else None
        with meter("learning what to keep of what the network sees", None):
            path = self.close_epoch(LEARNING_WINDOWS_BETWEEN if signals else LEARNING_WINDOWS)
        self.journal.close()
        return path

    def learn_folder(self) -> None:
        """What the folder teaches without the network: once a run, and before its first step, so that a signal never
        has to wait for it."""
        if not self.of_folder:
            windows = Windows(self.sounds, self.split.train, LEARNING_WINDOWS, self.settings.seed, torch.device("cpu"))
            self.of_folder = encoder.learn_folder(windows)

    def share_done(self) -> float:
        """0 to 1: of the bound that ends first."""
        steps = self.step / self.last_step
        if self.settings.max_minutes is None:
            return steps
        return max(steps, self.spent_s / (60 * self.settings.max_minutes * (1 - LEARNING_SHARE)))

    def lr(self) -> float:
        """Rises over the first steps, then falls along a cosine to almost nothing at the bound that ends first."""
        fall = 0.5 * (1 + math.cos(math.pi * min(self.share_done(), 1.0)))
        rise = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        return self.settings.lr * rise * (LAST_LR_SHARE + (1 - LAST_LR_SHARE) * fall)

    def advance(self) -> None:
        """One step."""
        self.network.train()
        torch.manual_seed(_mixed(self.settings.seed, self.step))
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr()
        scaled = self.network.scaled(self.views(self.pairs.draw(self.step).to(self.device)))
        found = self.passed(scaled)
        self.optimiser.zero_grad(set_to_none=True)
        found.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        self.means.add(found._asdict())
        self.step += 1

    def passed(self, scaled: Tensor) -> Losses:
        """The losses of `[2 B, 1, M, F]`, rows i and B + i of one sound; counts the words chosen."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.in_halves):
            outputs = self.network(scaled.contiguous(memory_format=torch.channels_last), len(scaled) // 2)
        self.uses["top"].add(outputs.top.codes)
        self.uses["bottom"].add(outputs.bottom.codes)
        return losses(self.network, outputs, scaled, self.settings.latent_loss_weight, self.settings.contrast_weight)

    def close_epoch(self, n_windows: int) -> Path:
        """Measure, learn, write it all down, and save."""
        measured = self.means.take() | self.words_used()
        self.journal.numbers("train", measured | {"lr": self.lr()}, self.step)
        held = self.held_out()
        self.journal.numbers("held out", held, self.step)
        self.warnings = collapse(measured, {level: use.n_codes for level, use in self.uses.items()})
        for warning in self.warnings:
            print(f"boiler: WARNING: {warning}", file=sys.stderr)
        path = self.path()
        checkpoint.save(self.contents(measured | {f"held_{name}": x for name, x in held.items()}, n_windows), path)
        return path

    @torch.no_grad()
    def held_out(self) -> dict[str, float]:
        """Losses and words used on sounds that are not learned from (on few sounds: on those that are), unaltered, the
        two halves of a window being the two views; and pictures of some."""
        self.network.eval()
        means = Mean()
        for waveforms in Windows(self.sounds, self.split.held, HELD_WINDOWS, self.settings.seed, self.device):
            mel = self.network.scaled(self.network.mel(waveforms))
            scaled = torch.cat(mel.chunk(2, dim=-1))
            means.add(self.passed(scaled)._asdict())
        drawn = self.network(mel[:4], len(mel[:4])).reconstruction
        self.journal.pictures(mel[:4], drawn, self.step)
        return means.take() | self.words_used()

    def words_used(self) -> dict[str, float]:
        """Perplexity and share of words used of both levels since the last time."""
        return self.uses["top"].take("top") | self.uses["bottom"].take("bottom")

    def contents(self, measured: dict[str, float], n_windows: int) -> Checkpoint:
        """All of it, with what is learned from up to so many windows."""
        self.learn_folder()
        windows = Windows(self.sounds, self.split.train, n_windows, self.settings.seed, self.device)
        return Checkpoint(
            network=asdict(self.network.settings),
            mel=asdict(self.mel),
            weights={name: value.cpu() for name, value in self.network.state_dict().items()},
            learned=encoder.learn(windows, self.network.eval(), self.of_folder),
            epoch=self.epoch(),
            step=self.step,
            seed=self.settings.seed,
            settings=self.settings.plain(),
            optimizer=self.optimiser.state_dict(),
            elapsed_s=self.spent_s,
            metrics=measured,
        )

    def epoch(self) -> int:
        """The number of the epoch that the last step belongs to, from 1."""
        return max(1, math.ceil(self.step / self.steps_per_epoch))

    def path(self) -> Path:
        """Where the checkpoint of this epoch goes."""
        return self.settings.save_path / f"vqvae_{self.epoch():03d}.pt"

    def note(self) -> str:
        """What stands beside the progress bar."""
        return f"epoch {self.epoch()}, step {self.step}"


def _mixed(seed: int, step: int) -> int:
    """One number of two, for torch's generators: far apart for neighbours."""
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9) % 2**63


def _groups(network: VQVAE2) -> list[dict[str, Any]]:
    """Biases and scales are not decayed."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]


def _in_halves(precision: str, device: torch.device) -> bool:
    """Whether convolutions run in bfloat16: where the processor has units for it, that halves the time of a step;
    elsewhere it only costs digits."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _keep_memory() -> None:
    """Ask glibc not to give memory back after each step: on the CPU, getting it again, page by page, takes longer than
    the arithmetic (measured: 1.2 s a step instead of 0.5). Other C libraries are left as they are."""
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_threshold, 2**25)  # the largest that glibc takes
    mallopt(trim_threshold, 2**31 - 1)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that asked to stop while the block runs: the first of each kind waits for the end of the step, the
    second is taken as always."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came  # only the main thread may handle signals
        return

    def note(number: int, frame: object) -> None:
        came.append(number)
        signal.signal(number, before[number])
        print("boiler: stopping after this step; once more stops at once", file=sys.stderr)

    before = {int(number): signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""The training loop, in `train(settings)`.

Everything random in a step (sounds, crops, augmentation, revived codes) derives from the seed and the number of the
step, so a stopped run resumes from its `TrainState` bit for bit. In several processes (`boiler.training.distributed`)
every one runs this loop.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from boiler import encoder
from boiler.encoder.vqvae_base import build_network
from boiler.errors import CorpusError
from boiler.model.checkpoint import Checkpoint
from boiler.model.device import keep_freed_memory, resolve_device
from boiler.model.mel import LogMel, MelSettings
from boiler.model.vqvae import COARSE_STRIDE, VQVAE2, VQVAEOutputs
from boiler.progress import meter
from boiler.training import schedule
from boiler.training.augment import SpectrogramAugmentation
from boiler.training.budget import TimeBudget
from boiler.training.dataset import PairSampler, SegmentDataset, Split, WindowBatches, prepare_dataset, time_over
from boiler.training.distributed import after_restart, join, mark_launch
from boiler.training.log import StepMetrics, TrainLog
from boiler.training.losses import Losses, compute_losses
from boiler.training.saving import CheckpointSaver
from boiler.training.settings import TrainSettings
from boiler.training.state import TrainState, load_start, new_network
from boiler.training.stopping import StopSignals

MIN_STEPS_PER_EPOCH = 200
"""An epoch is one pass over the segments, but at least this many steps: otherwise a checkpoint of a small folder would
be written every few seconds."""
VIEW_S = {"plain": 1.536, "general": 1.2}
"""By the trunk."""
DECODED_SHARE = {"plain": 1.0, "general": 0.5}
"""Share of the frames of a view that are decoded in a training step, by the trunk. Decoding takes two thirds of a step
of the general one, and what its projection learns does not come from there."""
WARM_UP_STEPS, MAX_WARM_UP_SHARE = 100, 0.1
"""Steps in which the learning rate rises, and the share of a short run that they take at most."""
MAX_GRADIENT_NORM = 5.0
WEIGHT_DECAY = 1e-4
VALIDATION_WINDOWS = 128
TIMED_STEPS = 5
"""After this many steps the total number of steps is estimated from the speed."""


@dataclass(frozen=True)
class TrainResult:
    """What `train` did. `path`: the last checkpoint. `stopped_by`: the signal that ended the run early, if any.
    `warnings`: those that were printed. `budget`: the time that was spent. `rank`: of this process, 0 unless several
    train together."""

    path: Path
    settings: TrainSettings
    step: int
    stopped_by: int | None
    warnings: list[str]
    dataset: SegmentDataset
    budget: TimeBudget
    rank: int = 0


def train(
    settings: TrainSettings,
    *,
    started: float | None = None,
    on_step: Callable[[TrainState], None] = lambda state: None,
) -> TrainResult:
    """Train until `epoch` or `max_minutes` is reached, or SIGINT or SIGTERM comes.

    Arguments:
        started: when the time for `max_minutes` began, on `time.monotonic`; by default now.
        on_step: called after each step.

    In processes that torchrun started, `settings` are the same in all of them, and `boiler.training.distributed` says
    how they train together.

    Raises: `CorpusError`, `CheckpointError`, `SettingsError`; `StopRequested` when a signal comes while sounds are
    being decoded, before there is a network to save.
    """
    device_name = resolve_device(settings.device)
    with join(device_name) as ranks, StopSignals(announces=ranks.is_first) as stop:
        settings, start = ranks.from_first(lambda: _start(settings))
        resumed = start if settings.resumes else None
        device = ranks.device(device_name)
        bfloat16 = _use_bfloat16(settings.precision, device)
        budget = TimeBudget(settings.max_minutes, resumed.elapsed_s if resumed else 0.0, started)
        keep_freed_memory(2**31 - 1)

        # Data. Decoded sounds stay in the cache, so a signal may interrupt decoding at once.
        mel = MelSettings(**start.mel) if start else settings.new_mel()
        dataset = ranks.from_first(lambda: _dataset(settings, budget, stop, mel.sample_rate_hz))
        split = Split(dataset, settings.held_share, settings.seed)

        # Network and optimizer, new or from a checkpoint.
        torch.manual_seed(settings.seed)
        network = build_network(start, str(settings.load_path)) if start else new_network(settings)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        settings = replace(settings, network=network.settings)  # the checkpoint decides the shape
        augment = SpectrogramAugmentation(mel, view_frames(network), device)
        pairs = PairSampler(dataset, split.train, LogMel(mel), settings.batch_size, augment.input_frames, settings.seed)
        shard = ranks.shard(pairs.batch)
        parallel = ranks.parallel(network, shard)
        optimizer = torch.optim.AdamW(_parameter_groups(network), lr=settings.lr, betas=(0.9, 0.98))
        state = TrainState(network, optimizer)
        if resumed:
            optimizer.load_state_dict(resumed.optimizer)
            state.step, state.folder_fit = resumed.step, encoder.select_folder_fit(resumed.learned)

        validation = WindowBatches(dataset, split.validation, VALIDATION_WINDOWS, settings.seed, device)
        steps_per_pass = math.ceil(len(split.train) / pairs.batch)
        steps_per_epoch = settings.steps_per_epoch or max(MIN_STEPS_PER_EPOCH, steps_per_pass)
        last_step, first_step = settings.epoch * steps_per_epoch, state.step
        saver = CheckpointSaver(settings, mel, dataset, split, steps_per_epoch, budget, stop, device)
        metrics = StepMetrics(network, shard)
        log = TrainLog(settings, network, state.step) if ranks.is_first else None
        if log:
            log.report_unused(dataset)

        # What depends on the folder alone is fitted once, before the first step.
        if state.step == 0 or not state.folder_fit:
            state.folder_fit = ranks.from_first(lambda: saver.fit_folder(network))

        def save(write: Callable[[TrainState, dict[str, float]], Path]) -> Path:
            trained = metrics.pop()
            return ranks.from_first(
                lambda: write(state, _evaluate(state, trained, validation, settings, bfloat16, log))
            )

        # The loop.
        budget.begin_loop()
        share = ranks.from_first(lambda: max(state.step / last_step, budget.loop_share()))
        with meter("training", 1.0, stream=None if ranks.is_first else io.StringIO()) as progress:
            while share < 1 and not ranks.stop_requested(stop):
                torch.manual_seed(_step_seed(settings.seed, state.step))
                lr = learning_rate(settings.lr, state.step, share)
                for group in optimizer.param_groups:
                    group["lr"] = lr

                network.train()
                scaled = shard.take(network.scaled(augment(pairs.sample(state.step).to(device))))
                outputs, losses = _forward(network, scaled, settings, bfloat16, parallel)
                optimizer.zero_grad(set_to_none=True)
                (losses.total * shard.loss_scale).backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
                optimizer.step()
                metrics.add(outputs, losses)
                state.step += 1
                on_step(state)

                share = ranks.from_first(lambda: max(state.step / last_step, budget.loop_share()))
                if log and state.step - first_step == TIMED_STEPS:
                    log.expect(
                        budget.expected_steps(state.step, first_step, last_step), last_step, steps_per_pass, budget
                    )
                if state.step % steps_per_epoch == 0 and share < 1 and not ranks.stop_requested(stop):
                    save(saver.save_between)
                left_s = budget.left_s() if budget.is_bounded else None
                progress.reach(min(share, 1.0), f"epoch {saver.epoch(state.step)}, step {state.step}", left_s=left_s)

        # The last checkpoint.
        path = save(saver.save_last)
        warnings = log.warnings if log else []
        if log:
            log.close()
    return TrainResult(path, settings, state.step, stop.number, warnings, dataset, budget, ranks.rank)


def _start(settings: TrainSettings) -> tuple[TrainSettings, Checkpoint | None]:
    """The settings, with the newest checkpoint if torchrun started this launch again, and what the run starts from."""
    settings = after_restart(settings)
    start = load_start(settings)
    mark_launch(settings)
    return settings, start


def _dataset(settings: TrainSettings, budget: TimeBudget, stop: StopSignals, sample_rate_hz: int) -> SegmentDataset:
    """The decoded sounds. Raises: `CorpusError` when there are less than two."""
    cache_dir = settings.cache_dir or settings.save_path / "cache"
    with stop.interruptible():
        dataset = prepare_dataset(
            settings.wav_dir,
            cache_dir,
            settings.workers,
            seed=settings.seed,
            max_s=budget.decoding_s(),
            sample_rate_hz=sample_rate_hz,
        )
    if len(dataset.sound) < 2:
        if dataset.n_skipped:
            raise time_over(settings.wav_dir, len(dataset.ids), dataset.n_skipped)
        raise CorpusError(
            f"{settings.wav_dir}: has one short sound ({dataset.ids[0]}), but training needs at least two sounds"
        )
    return dataset


def view_frames(network: VQVAE2) -> int:
    """Frames of a view, as many as the coarse map divides."""
    frame_rate_hz = network.mel.sample_rate_hz / network.mel.hop_samples
    return int(VIEW_S[network.settings.trunk] * frame_rate_hz) // COARSE_STRIDE * COARSE_STRIDE


def learning_rate(highest: float, step: int, share: float) -> float:
    """`boiler.training.schedule.learning_rate` of this training."""
    return schedule.learning_rate(highest, step, share, WARM_UP_STEPS, MAX_WARM_UP_SHARE)


def _forward(
    network: VQVAE2, scaled: Tensor, settings: TrainSettings, bfloat16: bool, parallel: nn.Module | None = None
) -> tuple[VQVAEOutputs, Losses]:
    """One pass over `[2 B, 1, M, F]`, rows i and B + i of one sound. `parallel`: the network as it is called when its
    gradients are to be averaged over processes."""
    with torch.autocast(scaled.device.type, torch.bfloat16, enabled=bfloat16):
        share = DECODED_SHARE[network.settings.trunk] if network.training else 1.0
        outputs = (parallel or network)(scaled.contiguous(memory_format=torch.channels_last), len(scaled) // 2, share)
    return outputs, compute_losses(network, outputs, scaled, settings.latent_loss_weight, settings.contrast_weight)


@torch.no_grad()
def _evaluate(
    state: TrainState,
    trained: dict[str, float],
    validation: WindowBatches,
    settings: TrainSettings,
    bfloat16: bool,
    log: TrainLog | None,
) -> dict[str, float]:
    """Log the training metrics `trained` and the validation metrics now; all of them, by name.

    Validation takes the two halves of a window as its two views, without augmentation.
    """
    assert log is not None  # called in rank 0 only
    network = state.network.eval()
    if trained:
        log.write("train", trained | {"lr": state.optimizer.param_groups[0]["lr"]}, state.step)
        log.check_codebooks(trained)
    validated = StepMetrics(network)
    for waveforms in validation:
        mel = network.scaled(network.mel(waveforms))
        validated.add(*_forward(network, torch.cat(mel.chunk(2, dim=-1)), settings, bfloat16))
    metrics = validated.pop()
    log.write("validation", metrics, state.step)
    log.write_reconstructions(mel[:4], network(mel[:4], len(mel[:4])).reconstruction, state.step)
    return trained | {f"validation_{name}": value for name, value in metrics.items()}


def _step_seed(seed: int, step: int) -> int:
    """A seed for torch from two numbers, far apart for neighbouring steps."""
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9) % 2**63


def _parameter_groups(network: VQVAE2) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and norms."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]


def _use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether convolutions run in bfloat16. `auto`: where the processor has units for it, it halves the time of a step;
    elsewhere it only loses digits."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))

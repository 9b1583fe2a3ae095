"""A fixed number of worker processes, each of which one thread uses at a time.

Subclasses define what the workers do: `boiler.audio.decoder_pool` decodes sounds, `boiler.vision.frame_pool` decodes
pictures and videos.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import ClassVar, Self

from boiler.audio.worker_process import WorkerProcess


class WorkerPool:
    """Worker processes; they start with the first request. A context manager; `close` ends them.

    Arguments:
        workers: processes
        timeout_s: for one answer
        memory_bytes: of address space for each process
    """

    MODULE: ClassVar[str]
    """The module whose `serve` runs in the processes."""

    def __init__(self, workers: int, timeout_s: float, memory_bytes: int) -> None:
        if workers < 1:
            raise ValueError(f"at least one worker is needed, not {workers}")
        self._workers = [WorkerProcess(timeout_s, memory_bytes, self.MODULE) for _ in range(workers)]
        self._free: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Process ids of the running workers."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def close(self) -> None:
        """End the workers. A later request starts them again."""
        for worker in self._workers:
            worker.stop()

    @contextmanager
    def _acquired(self, at_most: int) -> Iterator[list[WorkerProcess]]:
        """Up to `at_most` workers for exclusive use: waits for one, takes more only if they are free."""
        workers = [self._free.get()]
        with suppress(queue.Empty):
            while len(workers) < at_most:
                workers.append(self._free.get_nowait())
        try:
            yield workers
        finally:
            for worker in workers:
                if worker.busy:  # its answer was not received
                    worker.stop()
                self._free.put(worker)

"""Progress of long work, told to whoever listens: a terminal, a log, or nobody.

Compute functions receive a `Progress` and report stages; they never print. On a terminal the
stages are rich bars with elapsed time; elsewhere each stage writes one line at its start, its
end and at most one heartbeat per interval in between.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

HEARTBEAT_SECONDS = 10.0


class Stage(Protocol):
    """A running piece of work with a known number of steps."""

    def advance(self, steps: int = 1) -> None:
        """Report that steps were finished."""
        ...


class Progress(Protocol):
    """A listener for stages of work."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """Open a stage of `total` steps; it ends when the context is left."""
        ...


class _Silence:
    def advance(self, steps: int = 1) -> None:
        del steps

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        del name, total
        yield self


SILENT: Progress = _Silence()
"""The listener that hears nothing; the default of every compute function."""


class _Heartbeat:
    def __init__(self, name: str, total: int, write: Callable[[str], None], timer: Timer) -> None:
        self._name, self._total, self._write, self._timer = name, total, write, timer
        self._done = 0
        self._started = self._last = timer()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        now = self._timer()
        if now - self._last >= HEARTBEAT_SECONDS:
            self._last = now
            self._write(f"{self._name}: {self._done}/{self._total} after {self.seconds:.0f} s")

    @property
    def seconds(self) -> float:
        return self._timer() - self._started


Timer = Callable[[], float]


class LineProgress:
    """One-line heartbeats for logs and pipes.

    Parameters
    ----------
    stream : text stream
        Usually standard error.
    timer : callable
        Monotonic seconds, such as ``time.monotonic``.
    """

    def __init__(self, stream: TextIO, timer: Timer) -> None:
        self._stream, self._timer = stream, timer

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Write a line at the start and at the end of a stage."""
        heartbeat = _Heartbeat(name, total, self._write, self._timer)
        self._write(f"{name}: started" + (f" ({total} steps)" if total > 1 else ""))
        yield heartbeat
        self._write(f"{name}: done in {heartbeat.seconds:.1f} s")

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class _RichStage:
    def __init__(self, bars: RichProgress, task: int) -> None:
        self._bars, self._task = bars, task

    def advance(self, steps: int = 1) -> None:
        self._bars.advance(self._task, steps)  # type: ignore[arg-type]


class TerminalProgress:
    """Rich bars on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Show one bar while the stage runs and leave one finished line behind."""
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self._console) as bars:
            task = bars.add_task(name, total=total)
            yield _RichStage(bars, task)
            bars.update(task, completed=total)


def make_progress(*, quiet: bool, timer: Timer, stream: TextIO | None = None) -> Progress:
    """Choose the listener for a script.

    Parameters
    ----------
    quiet : bool
        True = silence.
    timer : callable
        Monotonic seconds.
    stream : text stream, optional
        Where to write; standard error by default.

    Returns
    -------
    Progress
        Bars when the stream is a terminal, else one-line heartbeats.
    """
    target = sys.stderr if stream is None else stream
    if quiet:
        return SILENT
    if target.isatty():
        return TerminalProgress(Console(file=target))
    return LineProgress(target, timer)

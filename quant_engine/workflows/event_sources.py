"""Where event-market data come from: a fake season, recordings, or an exchange with keys.

`collect` fills a store and is the same for all of them but for hosts, key and clock. A season of
the fake exchange and recordings have a time of their own, so that what is stored does not depend
on when a command ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from quant_engine.core.clock import Clock, FixedClock
from quant_engine.core.errors import ConfigError, EmptyDataError
from quant_engine.core.progress import SILENT, Progress
from quant_engine.kalshi.calendar import derive_calendar
from quant_engine.kalshi.exchange.client import Span
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import environment
from quant_engine.kalshi.exchange.session import Session, open_session
from quant_engine.kalshi.exchange.signing import signer_from_environment
from quant_engine.kalshi.exchange.timing import SystemTimer, VirtualTimer, microseconds
from quant_engine.kalshi.fake.season import Season, SeasonConfig, make_season, serve_season
from quant_engine.kalshi.provider import JOBS, SyncConfig, Synchronizer
from quant_engine.kalshi.recordings.folders import folder_kind, ingest_folder
from quant_engine.kalshi.store.database import Checkpoint, KalshiStore

__all__ = ["EventSource", "collect", "source_of_quotes", "store_name"]

FAKE, REPLAY = "fake", "replay"
LIVE = ("demo", "prod")
SEASON = "season"
_LOOK_BACK = timedelta(days=30)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class EventSource:
    """What a command reads.

    Parameters
    ----------
    environment : {"fake", "replay", "demo", "prod"}
        Kind of source.
    path : Path or None
        Folder of recordings; only for replays.
    series : tuple of str
        Series tickers; all of the season where empty.
    since, until : date or None
        First and last day (UTC) of prints and candles, and of the season's polls.
    season : SeasonConfig
        The fake exchange.
    variables : mapping of str to str
        Environment variables of the key, as ``core.settings`` read them.
    """

    environment: str
    path: Path | None = None
    series: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    season: SeasonConfig = field(default_factory=SeasonConfig)
    variables: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse a source that cannot be read."""
        known = (FAKE, REPLAY, *LIVE)
        if self.environment not in known:
            raise ConfigError(
                "--env", wanted=", ".join(known), got=repr(self.environment), hint="Use fake."
            )
        if (self.environment == REPLAY) != (self.path is not None):
            raise ConfigError(
                "--path",
                wanted="a folder of recordings with --env replay, and only there",
                got=f"--env {self.environment} and {self.path}",
                hint="Write --env replay --path FOLDER.",
            )
        if self.path is not None and not self.path.is_dir():
            raise ConfigError(
                "--path", wanted="an existing folder", got=str(self.path), hint="Check the path."
            )
        if self.environment in LIVE and not self.series:
            raise ConfigError(
                "--series",
                wanted=f"the series to read from {self.environment}",
                got="none",
                hint="Name them, such as --series KXHIGHNY KXCPI.",
            )
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ConfigError(
                "--since", wanted=f"a day up to {self.until}", got=self.since, hint="Swap them."
            )

    def content(self) -> dict[str, object]:
        """Everything that decides what is read, as plain values, without paths and keys."""
        season = self.season
        shown = {"n_events": season.n_events, "per_day": season.events_per_day, "seed": season.seed}
        return {
            "environment": self.environment,
            "folder": "" if self.path is None else self.path.name,
            "series": list(self.series),
            "since": str(self.since or ""),
            "until": str(self.until or ""),
            "season": shown if self.environment == FAKE else {},
        }

    def clock(self, machine: Clock) -> Clock:
        """Clock of records: the end of the season for the fake exchange, else the machine's."""
        if self.environment != FAKE:
            return machine
        return FixedClock(_EPOCH + timedelta(microseconds=make_season(self.season).ends_us))


def store_name(source: EventSource) -> str:
    """Name of the store and of the export of a source.

    Parameters
    ----------
    source : EventSource
        Source.

    Returns
    -------
    str
        One store per environment, and one per folder of recordings.

    Examples
    --------
    >>> store_name(EventSource("fake"))
    'fake'
    """
    return source.environment if source.path is None else f"replay-{source.path.name}"


def collect(
    store: KalshiStore,
    source: EventSource,
    what: tuple[str, ...] = JOBS,
    *,
    clock: Clock,
    drift: DriftLog,
    progress: Progress,
) -> Counter[str]:
    """Fill a store from a source and derive its calendar.

    Parameters
    ----------
    store : KalshiStore
        Open store; its run may be resumed.
    source : EventSource
        What to read.
    what : tuple of str
        Jobs of `provider.JOBS`; a replay takes everything that the folder holds.
    clock : Clock
        The machine's clock, for a live exchange.
    drift : DriftLog
        Counts what was not understood.
    progress : Progress
        Listener.

    Returns
    -------
    Counter
        New rows by table, and what could not be stored by name.

    Raises
    ------
    ConfigError
        An unknown job, or a key that is missing, unusable or registered elsewhere.
    EmptyDataError
        A season without a poll in the chosen days.
    """
    unknown = sorted(set(what) - set(JOBS))
    if unknown:
        raise ConfigError("--what", wanted=", ".join(JOBS), got=", ".join(unknown), hint="Choose.")
    if source.path is not None:
        written = ingest_folder(store, source.path, drift=drift, progress=progress)
    elif source.environment == FAKE:
        written = _collect_season(store, source, what, drift, progress)
    else:
        written = _collect_live(store, source, what, clock, drift, progress)
    with progress.stage("calendar", 1):
        written += derive_calendar(store, families={}, src=source.environment)
    return +written


def source_of_quotes(source: EventSource) -> str:
    """Table that quotes come from.

    Parameters
    ----------
    source : EventSource
        Source.

    Returns
    -------
    str
        ``quote`` but for archives that hold prints or candles only.
    """
    return "quote" if source.path is None else folder_kind(source.path).source


def _jobs(
    session: Session, store: KalshiStore, source: EventSource, span: Span, progress: Progress
) -> Synchronizer:
    # Answers of the fake exchange can be had again at any time.
    keeps_raw = source.environment != FAKE
    config = SyncConfig(source.series, span, source=source.environment, keeps_raw=keeps_raw)
    return Synchronizer(session.client, store, config, timer=session.timer, progress=progress)


def _collect_season(
    store: KalshiStore,
    source: EventSource,
    what: tuple[str, ...],
    drift: DriftLog,
    progress: Progress,
) -> Counter[str]:
    season = make_season(source.season)
    polls = [at for at in season.polls_us if _chosen(at, source)]
    if not polls:
        raise EmptyDataError(
            "season", wanted="a poll in the chosen days", got="none",
            hint="Leave out --since and --until to see all of it.",
        )  # fmt: skip
    chosen = _with_series(source, season)
    timer = VirtualTimer(polls[0])
    ends_us = season.ends_us if source.until is None else polls[-1] + 86_400_000_000
    written = Counter[str]()
    with (
        serve_season(season, timer) as (place, signer),
        open_session(place, signer, timer=timer, drift=drift) as session,
    ):
        span = Span(polls[0] - 86_400_000_000, ends_us)
        quiet = _jobs(session, store, chosen, span, SILENT)
        with progress.stage("polls of the season", len(polls)) as stage:
            done = store.checkpoints(SEASON)
            for at_us in polls:
                if str(at_us) not in done:
                    _wait_until(timer, at_us)
                    # Time stands still during a poll: it is kept whole or made again.
                    with store.transaction():
                        for job in ("catalog", "quotes"):
                            written += getattr(quiet, job)() if job in what else Counter()
                        reached = Checkpoint(store.run_id, 0, at_us)
                        store.set_checkpoint(SEASON, str(at_us), reached)
                stage.advance()
        _wait_until(timer, ends_us)
        jobs = _jobs(session, store, chosen, span, progress)
        for counts in jobs.run([job for job in _LATE if job in what]).values():
            written += counts
    return written


def _wait_until(timer: VirtualTimer, at_us: int) -> None:
    # Waiting for an exchange that refuses takes time too: a poll may begin late.
    timer.sleep(max(0, at_us - timer.now_us()) / 1e6)


_LATE = ("historical", "trades", "candles")
"""Jobs that are done once, after the last release; results must be known before prints end."""


def _with_series(source: EventSource, season: Season) -> EventSource:
    names = season.world.all_series
    unknown = sorted(set(source.series) - set(names))
    if unknown:
        raise ConfigError(
            "--series", wanted=", ".join(names), got=", ".join(unknown), hint="Choose some."
        )
    return replace(source, series=source.series or names)


def _chosen(at_us: int, source: EventSource) -> bool:
    day = (_EPOCH + timedelta(microseconds=at_us)).date()
    is_late = source.until is not None and day > source.until
    return not is_late and (source.since is None or day >= source.since)


def _collect_live(
    store: KalshiStore,
    source: EventSource,
    what: tuple[str, ...],
    clock: Clock,
    drift: DriftLog,
    progress: Progress,
) -> Counter[str]:
    signer = signer_from_environment(source.variables or {}, environment=source.environment)
    timer = SystemTimer(clock)
    today = clock.now().date()
    since = source.since or today - _LOOK_BACK
    until = (source.until or today) + timedelta(days=1)
    span = Span(*(microseconds(datetime.combine(d, time(), tzinfo=UTC)) for d in (since, until)))
    place = environment(source.environment)
    with open_session(place, signer, timer=timer, drift=drift) as session:
        done = _jobs(session, store, source, span, progress).run(what)
    written = Counter[str]()
    for counts in done.values():
        written += counts
    return written

"""Daily-high temperature ladders fetched after settlement: events, prints and their hindsight.

A folder per city holds ``events/DATE.json.gz`` and ``trades/DATE.json.gz``, raw answers in the
cents schema. What has to be known about them:

* They were fetched after settlement and do not say when. ``fetched_us`` is the declared time; it is
  the last ``latest_expiration_time`` of the archive where nothing is declared. Status, result,
  close time, last price, volume, open interest and expiration value are available from then on.
* The strike fields of winners are missing from some days on, so that the presence of a field tells
  the outcome. All legs of all events are read from their labels, and where fields exist they have
  to agree with the label.
* Series changed their prefix: ``HIGHNY-24AUG16`` belongs to ``KXHIGHNY``.
* The temperature itself comes out with the climate report of the next morning. That is the
  ``outcome``, first print, available by the calendar; the exchange's copy of it is not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from quant_engine.core.errors import DataError, EmptyDataError
from quant_engine.core.progress import SILENT, Progress
from quant_engine.kalshi.events import Release, map_events, put_outcomes, put_releases
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.records import Event, Market
from quant_engine.kalshi.exchange.replay import ArchivedEvent, read_event_file, read_trades_file
from quant_engine.kalshi.lattice import SettlementGrid
from quant_engine.kalshi.payoffs import payoff_set
from quant_engine.kalshi.store.database import Checkpoint, KalshiStore
from quant_engine.kalshi.store.writing import (
    Lags,
    Sighting,
    equal_strikes,
    put_events,
    put_markets,
    put_trades,
)

__all__ = ["WeatherArchive", "check_labels", "ingest_weather", "series_of"]

JOB = "weather archive"
_DEGREES = SettlementGrid(1.0)


@dataclass(frozen=True)
class WeatherArchive:
    """How an archive of temperature ladders is read.

    Parameters
    ----------
    folder : Path
        Holds one folder per city.
    fetched_us : int, optional
        When it was fetched, microseconds UTC; the last latest expiration of its markets where None.
    report_after_us : int
        From the end of the measured day (``strike_date``) to the climate report.
    events_per_batch : int
        Events that are stored in one transaction.
    lags : Lags
        Delays of prints.
    """

    folder: Path
    fetched_us: int | None = None
    report_after_us: int = 10 * 3_600_000_000 + 60_000_000
    events_per_batch: int = 46
    lags: Lags = field(default_factory=Lags)


def series_of(event_ticker: str) -> str:
    """Today's series of an event, whose ticker may have the prefix from before the change.

    Parameters
    ----------
    event_ticker : str
        Such as ``HIGHNY-24AUG16`` or ``KXHIGHNY-25FEB15``.

    Returns
    -------
    str
        Series with its present prefix.

    Examples
    --------
    >>> series_of("HIGHNY-24AUG16"), series_of("KXHIGHNY-25FEB15")
    ('KXHIGHNY', 'KXHIGHNY')
    """
    stem = event_ticker.split("-", maxsplit=1)[0]
    return stem if stem.startswith("KX") else f"KX{stem}"


def check_labels(markets: tuple[Market, ...]) -> None:
    """Refuse legs whose label and strike fields name different degrees.

    Parameters
    ----------
    markets : tuple of Market
        Legs of one event; a leg without fields has only its label.

    Raises
    ------
    DataError
        When a label cannot be read, or a field disagrees with it.

    Examples
    --------
    >>> check_labels((Market(ticker="A", strike_type="less", cap_strike=84.0,
    ...                      yes_sub_title="83° or below"),))
    """
    labels = equal_strikes(markets, text_only=True)
    for market in markets:
        label = labels.get(market.ticker)
        fields = label
        if label is not None and market.strike_type:
            degrees = _DEGREES.interval(
                payoff_set(
                    market.strike_type,
                    floor_strike=market.floor_strike,
                    cap_strike=market.cap_strike,
                )
            )
            fields = label if degrees == _DEGREES.interval(label.payoff()) else None
        if fields is None:
            raise DataError(
                market.ticker,
                wanted="a label and strike fields that name the same degrees",
                got=f"{market.yes_sub_title!r}, {market.strike_type} {market.floor_strike} "
                f"{market.cap_strike}",
                hint="The file is damaged; fetch the event again.",
            )


def ingest_weather(
    store: KalshiStore,
    archive: WeatherArchive,
    *,
    drift: DriftLog | None = None,
    progress: Progress = SILENT,
) -> Counter[str]:
    """Store an archive of temperature ladders; what is stored already is passed over.

    Parameters
    ----------
    store : KalshiStore
        Where.
    archive : WeatherArchive
        What.
    drift : DriftLog, optional
        Counts what was not understood.
    progress : Progress
        Told about every event.

    Returns
    -------
    Counter
        New rows by table.

    Raises
    ------
    EmptyDataError
        When the folder holds no event.
    DataError
        When a label contradicts its strike fields.
    """
    log = DriftLog() if drift is None else drift
    paths = sorted(archive.folder.glob("*/events/*.json.gz"))
    if not paths:
        raise EmptyDataError(
            str(archive.folder),
            wanted="CITY/events/DATE.json.gz",
            got="no such file",
            hint="Give the folder that holds the cities.",
        )
    sighting = Sighting(_fetched_us(archive, paths, log), JOB, "assumed", archive.lags)
    written = Counter[str]()
    with progress.stage(JOB, len(paths)) as stage:
        for first in range(0, len(paths), archive.events_per_batch):
            batch = paths[first : first + archive.events_per_batch]
            written += _ingest_batch(store, archive, batch, sighting=sighting, drift=log)
            stage.advance(len(batch))
    return written


def _fetched_us(archive: WeatherArchive, paths: list[Path], drift: DriftLog) -> int:
    if archive.fetched_us is not None:
        return archive.fetched_us
    # The newest event of each city is enough: expirations follow the days.
    newest = {path.parent: path for path in paths}
    markets = [m for path in newest.values() for m in read_event_file(path, drift).markets]
    return max(m.latest_expiration_us or m.close_us or 0 for m in markets)


def _ingest_batch(
    store: KalshiStore,
    archive: WeatherArchive,
    paths: list[Path],
    *,
    sighting: Sighting,
    drift: DriftLog,
) -> Counter[str]:
    names = [str(path.relative_to(archive.folder)) for path in paths]
    todo = [
        path for path, name in zip(paths, names, strict=True)
        if store.checkpoint(JOB, name) is None
    ]  # fmt: skip
    found = [read_event_file(path, drift) for path in todo]
    written = Counter[str]()
    with store.transaction():
        for archived in found:
            check_labels(archived.markets)
        written += _put_ladders(store, found, sighting)
        trades = [
            trade
            for path in todo
            if (beside := path.parents[1] / "trades" / path.name).is_file()
            for trade in read_trades_file(beside, drift)
        ]
        written += put_trades(store, trades, sighting)
        written += _put_outcomes(store, archive, found, sighting)
        for path in todo:
            name = str(path.relative_to(archive.folder))
            store.set_checkpoint(JOB, name, Checkpoint("done", 0, sighting.recorded_us))
    return written


def _opening(archived: ArchivedEvent) -> int | None:
    return min((us for m in archived.markets if (us := m.open_us) is not None), default=None)


def _put_ladders(
    store: KalshiStore, found: list[ArchivedEvent], sighting: Sighting
) -> Counter[str]:
    openings = {
        ticker: us for a in found if (us := _opening(a)) is not None for ticker in [a.event.ticker]
    }
    written = put_events(store, [a.event for a in found], sighting, listed_us=openings)
    markets = [market for archived in found for market in archived.markets]
    return written + put_markets(store, markets, sighting, text_strikes=True)


def _release_of(event: Event) -> Release:
    place = series_of(event.ticker)
    day = event.ticker.split("-", maxsplit=1)[1]
    return Release(f"{place}-{day}", family="daily high", reference_period=day, tz="local day")


def _put_outcomes(
    store: KalshiStore, archive: WeatherArchive, found: list[ArchivedEvent], sighting: Sighting
) -> Counter[str]:
    """Store the climate report of every event: scheduled, printed, and mapped to its day."""
    written = Counter[str]()
    usable = [a for a in found if a.event.strike_us is not None and _opening(a) is not None]
    releases = [_release_of(a.event) for a in usable]
    reports = [(a.event.strike_us or 0) + archive.report_after_us for a in usable]
    calendar = [
        {"recorded_us": sighting.recorded_us, "avail_us": us, "avail_basis": "release_calendar",
         "src": sighting.src}
        for us in map(_opening, usable)
    ]  # fmt: skip
    if not usable:
        return written
    written += put_releases(store, releases, reports, facts=calendar)
    written += map_events(
        store,
        {a.event.ticker: (r.name, f"daily high {r.reference_period}")
         for a, r in zip(usable, releases, strict=True)},
        facts=calendar,
    )  # fmt: skip
    values = [{_value(m.expiration_value) for m in a.markets if m.expiration_value} for a in usable]
    printed = [
        {"release": r.name, "value": min(v), "unit": "degrees F", "publish_us": at}
        for r, v, at in zip(releases, values, reports, strict=True)
        if len(v) == 1
    ]
    if printed:
        written += put_outcomes(store, printed, recorded_us=sighting.recorded_us, src=sighting.src)
    return written


def _value(text: str | None) -> float:
    return float(text or "nan")

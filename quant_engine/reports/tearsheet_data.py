"""What a tear sheet is made of: plain tables and facts, checked once, at the edge.

:class:`TearSheetData` is the only input of the tear sheet. It holds values, not references: the
loader that fills it from artifacts lives above. Everything optional may be ``None``; the reason
stands in ``absent`` under the field's or the metric's name, and the panel shows that sentence.

Column lists are data (:data:`FRAMES`): a missing column, an unknown column, an unsorted or a
time-zone-aware session index is refused with its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

import pandas as pd

from quant_engine.core.errors import ConfigError, SchemaMismatchError, did_you_mean
from quant_engine.core.tracks import Track
from quant_engine.reports.evaluation_data import EvaluationData
from quant_engine.reports.suite_data import SuiteData

__all__ = [
    "COST_KINDS",
    "FRAMES",
    "OPEN_AT_END",
    "REGIME_NAMES",
    "DatasetFacts",
    "FrameSchema",
    "Lineage",
    "LineageNode",
    "MetricValue",
    "QualityOutcome",
    "RunFacts",
    "TearSheetData",
]

MetricValue = float | int | str | bool | None
"""One flat figure of a summary; None or NaN = absent."""

COST_KINDS = ("fees", "spread", "impact", "borrow")
"""Kinds of cost, in the order in which they are stacked; the daily columns are ``cost_<kind>``."""

OPEN_AT_END = "end_of_run"
"""``exit_reason`` of positions that were still open after the last session: no closed trades."""

REGIME_NAMES: Mapping[int, str] = MappingProxyType(
    {0: "Bull trend", 1: "Bear trend", 2: "Mean-reverting", 3: "High volatility"}
)
"""Display names of the canonical regime codes; -1 is warm-up and has no name."""


@dataclass(frozen=True, kw_only=True)
class FrameSchema:
    """Columns of one table.

    Parameters
    ----------
    index : str or None
        ``"session"`` for a strictly increasing, tz-naive DatetimeIndex; None when the index
        carries no meaning.
    required, optional : tuple of str
        Column names. Nothing else is accepted, unless ``is_open``.
    is_open : bool
        True when the columns are data themselves (one per quantile).
    """

    index: str | None = None
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    is_open: bool = False


FRAMES: Mapping[str, FrameSchema] = MappingProxyType(
    {
        "daily": FrameSchema(
            index="session",
            required=("equity", "ret_net", "ret_gross"),
            optional=(
                "gross_exposure",
                "net_exposure",
                "n_long",
                "n_short",
                "turnover",
                *(f"cost_{kind}" for kind in COST_KINDS),
                "benchmark_ret",
                "regime",
                "ret_hedged",
            ),
        ),
        "coverage": FrameSchema(
            index="session", required=("n_assets", "n_members", "share_covered")
        ),
        "trades": FrameSchema(
            required=(
                "asset_id",
                "ticker",
                "side",
                "entry_session",
                "exit_session",
                "holding_sessions",
                "ret_net",
            ),
            optional=(
                "entry_price",
                "exit_price",
                "predicted_frac",
                "weight",
                "pnl_usd",
                "cost_bps",
                "fill_ratio",
                "confidence",
                "regime",
                "exit_reason",
                "mae_frac",
                "mfe_frac",
            ),
        ),
        "ic_by_date": FrameSchema(index="session", required=("ic", "rank_ic")),
        "ic_by_horizon": FrameSchema(required=("horizon", "mean", "t_nw", "n")),
        "ic_by_year": FrameSchema(required=("year", "ic", "rank_ic", "t_nw", "n")),
        "quantile_returns": FrameSchema(
            required=("quantile", "mean_fwd_return_bps", "std_error_bps")
        ),
        "quantile_cumulative": FrameSchema(index="session", is_open=True),
        "folds": FrameSchema(
            required=(
                "fold",
                "train_first",
                "train_last",
                "test_first",
                "test_last",
                "n_train_rows",
                "n_test_rows",
                "ic_in_sample",
                "ic",
                "rank_ic",
            ),
        ),
        "regime_slices": FrameSchema(
            required=(
                "regime",
                "n_sessions",
                "annual_return",
                "annual_vol",
                "sharpe",
                "max_drawdown",
            ),
        ),
        "monthly_returns": FrameSchema(required=("year", "month", "ret_net")),
        "quality_findings": FrameSchema(required=("rule", "severity", "n_findings")),
        "checks": FrameSchema(required=("check", "value", "verdict", "reason")),
    }
)
"""Schema of every table of :class:`TearSheetData`, by field name."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """Which data the run saw.

    Parameters
    ----------
    dataset_id : str
        Identity of the dataset.
    source : str
        Provider or simulated world, in words.
    first_session, last_session : datetime.date
        First and last session of the data.
    n_assets : int
        Securities that ever appear.
    coverage : DataFrame or None
        Columns of ``FRAMES["coverage"]``; ``share_covered`` is the fraction of members with a
        price on that session.
    absences : tuple of str
        Sentences: what the dataset does not hold (for example delisting returns).
    """

    dataset_id: str
    source: str
    first_session: date
    last_session: date
    n_assets: int
    coverage: pd.DataFrame | None = None
    absences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Which run it was.

    Parameters
    ----------
    run_id, model_version, config_id, code_digest : str
        Identities; digests may be full length, they are shortened for display.
    horizon_sessions : int
        Label horizon.
    as_of : str
        The instant or session up to which anything was known.
    seed : int or None
        Random seed; None when nothing random was used.
    is_in_sample : bool
        True when the scores were fitted on the very sessions shown; marked on top of the page.
    is_same_bar : bool
        True when orders filled on the bar that decided them; marked in the same way.
    """

    run_id: str
    model_version: str
    config_id: str
    code_digest: str
    horizon_sessions: int
    as_of: str
    seed: int | None = None
    is_in_sample: bool = False
    is_same_bar: bool = False


@dataclass(frozen=True, kw_only=True)
class QualityOutcome:
    """Whether the run may be proposed for promotion.

    Parameters
    ----------
    promotable : bool
        The verdict of the quality rules.
    reasons : tuple of str
        Sentences; for ``promotable=False`` at least one.
    """

    promotable: bool
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.promotable and not self.reasons:
            raise ConfigError(
                "verdict.reasons",
                wanted="at least one sentence when promotable is False",
                got="none",
                hint="Pass the reasons of the quality rules that failed.",
            )


@dataclass(frozen=True, kw_only=True)
class LineageNode:
    """One artifact on the way from raw data to this page.

    Parameters
    ----------
    kind, artifact_id, sha256, label : str
        Kind, id, content hash and a short description.
    """

    kind: str
    artifact_id: str
    sha256: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Artifacts and which was made from which.

    Parameters
    ----------
    nodes : tuple of LineageNode
        Unique ``artifact_id``.
    edges : tuple of (str, str)
        (input id, product id), both among the nodes, without cycles.
    """

    nodes: tuple[LineageNode, ...]
    edges: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        known = [node.artifact_id for node in self.nodes]
        if len(set(known)) != len(known):
            raise SchemaMismatchError(
                "lineage.nodes",
                wanted="unique artifact ids",
                got=sorted({one for one in known if known.count(one) > 1}),
                hint="List every artifact once.",
            )
        strangers = sorted({end for edge in self.edges for end in edge} - set(known))
        if strangers:
            raise SchemaMismatchError(
                "lineage.edges",
                wanted="ids that are among the nodes",
                got=strangers,
                hint="Add the missing nodes or drop the edges.",
            )
        self.depths()

    def depths(self) -> dict[str, int]:
        """How many steps each artifact is from the furthest raw input.

        Returns
        -------
        dict of str to int
            0 for artifacts without inputs, else 1 + the greatest depth of an input.

        Raises
        ------
        SchemaMismatchError
            If the edges form a cycle.

        Examples
        --------
        >>> nodes = tuple(
        ...     LineageNode(kind="k", artifact_id=one, sha256="", label="") for one in "abc"
        ... )
        >>> Lineage(nodes=nodes, edges=(("a", "b"), ("a", "c"), ("b", "c"))).depths()
        {'a': 0, 'b': 1, 'c': 2}
        """
        depths = {node.artifact_id: 0 for node in self.nodes}
        for _ in self.nodes:
            changed = False
            for source, product in self.edges:
                if depths[product] <= depths[source]:
                    depths[product] = depths[source] + 1
                    changed = True
            if not changed:
                return depths
        if not self.nodes:
            return depths
        raise SchemaMismatchError(
            "lineage.edges",
            wanted="a graph without cycles",
            got="a cycle",
            hint="An artifact cannot be its own input; check the manifests.",
        )


@dataclass(frozen=True, kw_only=True)
class TearSheetData:
    """Everything one tear sheet shows.

    Units: returns, exposures, turnover, weights and drawdowns are fractions; ``cost_*`` of
    ``daily`` are fractions of the equity at the start of the session, positive = paid;
    ``turnover`` is ``sum(abs(dw)) / 2`` of the session; ``equity`` is in any currency unit, after
    the session; ``regime`` is the code known before the session; ``quantile_cumulative`` holds one
    column per quantile (whole numbers, 1 = lowest score) with the cumulative simple return since
    its first session. NaN = not available; an optional column without any value counts as absent.

    Parameters
    ----------
    title : str
        Heading of the page.
    track : Track
        The one track on which the record counts.
    dataset, run : DatasetFacts, RunFacts
        Which data, which run.
    periods_per_year : float
        Sessions per year for annualisation (252 for daily US sessions).
    summary : Mapping of str to MetricValue
        Flat metrics by the names of :data:`quant_engine.reports.glossary.METRICS`; other names
        are shown under "Other recorded figures". None or NaN = absent.
    verdict : QualityOutcome or None
        None = no quality rule was evaluated.
    daily, trades, ic_by_date, ic_by_horizon, ic_by_year, quantile_returns : DataFrame or None
        Columns of :data:`FRAMES`.
    quantile_cumulative, folds, regime_slices, monthly_returns : DataFrame or None
        Columns of :data:`FRAMES`.
    quality_findings, checks : DataFrame or None
        Columns of :data:`FRAMES`; ``checks`` holds one verdict per rule.
    time_contract : tuple of str
        Sentences: decision time, fill time, label span, purge, embargo.
    lineage : Lineage or None
        From raw file to this page.
    warnings : tuple of str
        Sentences shown on top.
    absent : Mapping of str to str
        Field or metric name to the reason why it is not there.
    regime_names : Mapping of int to str
        Display names of regime codes.
    evaluation : EvaluationData or None
        Slices, trading costs, attribution; None = the run recorded none.
    suite : SuiteData or None
        What the validation suite found; None = it was not run.

    Raises
    ------
    SchemaMismatchError
        If a table lacks a column, has an unknown one or a bad session index.
    """

    title: str
    track: Track
    dataset: DatasetFacts
    run: RunFacts
    periods_per_year: float
    summary: Mapping[str, MetricValue]
    verdict: QualityOutcome | None = None
    daily: pd.DataFrame | None = None
    trades: pd.DataFrame | None = None
    ic_by_date: pd.DataFrame | None = None
    ic_by_horizon: pd.DataFrame | None = None
    ic_by_year: pd.DataFrame | None = None
    quantile_returns: pd.DataFrame | None = None
    quantile_cumulative: pd.DataFrame | None = None
    folds: pd.DataFrame | None = None
    regime_slices: pd.DataFrame | None = None
    monthly_returns: pd.DataFrame | None = None
    quality_findings: pd.DataFrame | None = None
    checks: pd.DataFrame | None = None
    time_contract: tuple[str, ...] = ()
    lineage: Lineage | None = None
    warnings: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    regime_names: Mapping[int, str] = field(default_factory=lambda: REGIME_NAMES)
    evaluation: EvaluationData | None = None
    suite: SuiteData | None = None

    def __post_init__(self) -> None:
        if not self.periods_per_year > 0:
            raise ConfigError(
                "periods_per_year",
                wanted="a number greater than 0",
                got=self.periods_per_year,
                hint="Use 252 for daily US sessions.",
            )
        for name, schema in FRAMES.items():
            frame = self.dataset.coverage if name == "coverage" else getattr(self, name)
            if frame is None:
                continue
            _check_frame(name, frame, schema)
            empty = [one for one in schema.optional if one in frame and frame[one].isna().all()]
            if empty and len(frame):
                # A column without any value is an absent column: one case less for every panel.
                object.__setattr__(self, name, frame.drop(columns=empty))

    @property
    def has_returns(self) -> bool:
        """Whether a net return was observed on at least two sessions."""
        return self.daily is not None and int(self.daily["ret_net"].notna().sum()) >= 2

    def why_absent(self, name: str) -> str:
        """The reason why a field or a metric is not there.

        Parameters
        ----------
        name : str
            Field name (``"trades"``), column (``"daily.benchmark_ret"``) or metric name.

        Returns
        -------
        str
            The recorded reason, or a sentence saying that the run recorded nothing.
        """
        return self.absent.get(name, f"The run recorded no {name.replace('_', ' ')}.")


def _check_frame(name: str, frame: pd.DataFrame, schema: FrameSchema) -> None:
    columns = [str(column) for column in frame.columns]
    missing = [column for column in schema.required if column not in columns]
    if missing:
        raise SchemaMismatchError(
            f"{name} columns",
            wanted=", ".join(schema.required),
            got=f"without {', '.join(missing)}",
            hint="Rename or add the columns in the loader.",
        )
    allowed = schema.required + schema.optional
    unknown = [] if schema.is_open else [column for column in columns if column not in allowed]
    if unknown:
        raise SchemaMismatchError(
            f"{name} columns",
            wanted=", ".join(allowed),
            got=f"unknown {', '.join(unknown)}",
            hint=did_you_mean(unknown[0], allowed),
        )
    if schema.index == "session":
        _check_sessions(name, frame.index)


def _check_sessions(name: str, index: pd.Index) -> None:
    is_good = (
        isinstance(index, pd.DatetimeIndex)
        and index.tz is None
        and index.is_monotonic_increasing
        and index.is_unique
    )
    if not is_good:
        raise SchemaMismatchError(
            f"{name} index",
            wanted="tz-naive sessions, strictly increasing",
            got=f"{type(index).__name__} {getattr(index, 'dtype', '')}",
            hint="Set the session column as a sorted, unique index.",
        )

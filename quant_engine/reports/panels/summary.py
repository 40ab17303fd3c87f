"""Top of the page: which run, its verdict, key figures, the three Sharpe ratios."""

from __future__ import annotations

import numpy as np

from quant_engine.core.arrays import FloatVector
from quant_engine.core.tracks import Track
from quant_engine.reports.derived import growth_table, rolling_table, top_drawdowns
from quant_engine.reports.formats import COUNT, is_absent
from quant_engine.reports.glossary import METRICS
from quant_engine.reports.markup import EMPTY, Markup, el, join
from quant_engine.reports.panels.parts import (
    absent_panel,
    metric_value,
    panel,
    sentences,
    sparkline,
    term,
    value,
)
from quant_engine.reports.tearsheet_data import COST_KINDS, TearSheetData
from quant_engine.stats.metrics import drawdown_series

__all__ = [
    "TRACK_MEANING",
    "callout",
    "callouts",
    "digest",
    "key_figures",
    "masthead",
    "recorded_panel",
    "sharpe_panel",
    "track_badge",
]

TRACK_MEANING = {
    Track.PRODUCTION: "Live data, production run: the only track that promotion reads.",
    Track.RESEARCH: "Recorded history: evidence for research, not for promotion.",
    Track.CALIBRATION: "Simulated market: shows that the method works, not that the market pays.",
}


def masthead(data: TearSheetData) -> Markup:
    """Title, badges and the identity of the run.

    Parameters
    ----------
    data : TearSheetData
        The run.

    Returns
    -------
    Markup
        Header element with the only ``h1``.
    """
    run, dataset = data.run, data.dataset
    facts = [
        ("Dataset", value("dataset.dataset_id", dataset.dataset_id)),
        ("Source", value("dataset.source", dataset.source)),
        (
            "Sessions",
            join(
                [
                    value("dataset.first_session", dataset.first_session, class_="nowrap"),
                    " to ",
                    value("dataset.last_session", dataset.last_session, class_="nowrap"),
                ]
            ),
        ),
        ("Assets", value("dataset.n_assets", dataset.n_assets, COUNT)),
        (
            "Horizon",
            join([value("run.horizon_sessions", run.horizon_sessions), " sessions"]),
        ),
        ("Model version", value("run.model_version", run.model_version)),
        ("Run", value("run.run_id", run.run_id)),
        ("Known as of", value("run.as_of", run.as_of)),
        ("Seed", value("run.seed", run.seed)),
        ("Configuration", digest("run.config_id", run.config_id)),
        ("Code", digest("run.code_digest", run.code_digest)),
    ]
    return el(
        "header",
        el(
            "div",
            el("p", "Backtest tear sheet", class_="eyebrow"),
            el("h1", data.title),
            el("div", track_badge(data.track), _verdict_badge(data), class_="badges"),
            class_="masthead-title",
        ),
        el(
            "dl",
            *(el("div", el("dt", label), el("dd", content)) for label, content in facts),
            class_="facts",
        ),
        class_="masthead",
    )


def digest(name: str, whole: str) -> Markup:
    """The beginning of a hash, with the whole one beside it.

    Parameters
    ----------
    name : str
        Dotted name of the value.
    whole : str
        Hash in full.

    Returns
    -------
    Markup
        Its first 12 characters.
    """
    return value(name, whole, text=whole[:12], class_="mono")


def track_badge(track: Track) -> Markup:
    """The track of a record as a badge.

    Parameters
    ----------
    track : Track
        Where the record counts.

    Returns
    -------
    Markup
        Badge whose title says what the track means.
    """
    return el(
        "span",
        f"{track.value.capitalize()} track",
        class_=f"badge track-{track.value}",
        title=TRACK_MEANING[track],
        data_metric="track",
        data_value=track.value,
    )


def _verdict_badge(data: TearSheetData) -> Markup:
    if data.verdict is None:
        return el("span", "Not judged", class_="badge neutral")
    is_good = data.verdict.promotable
    return el(
        "span",
        "✓ Promotable" if is_good else "✕ Not promotable",
        class_=f"badge {'good' if is_good else 'bad'}",
        data_metric="verdict.promotable",
        data_value=repr(is_good),
    )


def callouts(data: TearSheetData) -> Markup:
    """What must be read before the figures: track, in-sample mark, verdict, warnings.

    Parameters
    ----------
    data : TearSheetData
        The run.

    Returns
    -------
    Markup
        Boxes, most serious first.
    """
    boxes = []
    if data.run.is_in_sample:
        text = "The scores were fitted on the sessions shown here: nothing below is evidence."
        boxes.append(callout("In-sample figures", el("p", text), "bad"))
    if data.run.is_same_bar:
        text = "Orders filled on the bar that decided them. Nobody could have traded so."
        boxes.append(callout("Fills on the deciding bar", el("p", text), "bad"))
    verdict = data.verdict
    if verdict is None:
        reason = el("p", data.why_absent("verdict"))
        boxes.append(callout("No verdict", reason, "neutral"))
    elif verdict.reasons:
        heading = "Why it is promotable" if verdict.promotable else "Why it is not promotable"
        kind = "good" if verdict.promotable else "bad"
        boxes.append(callout(heading, sentences("verdict.reasons", verdict.reasons), kind))
    if data.warnings:
        boxes.append(callout("Warnings", sentences("warnings", data.warnings), "warn"))
    track = f"{data.track.value.capitalize()} track"
    boxes.append(callout(track, el("p", TRACK_MEANING[data.track]), "neutral"))
    return el("div", *boxes, class_="callouts")


def callout(heading: str, body: Markup, kind: str) -> Markup:
    """A box that must be read before the figures.

    Parameters
    ----------
    heading : str
        Title as text.
    body : Markup
        Sentences.
    kind : str
        ``good``, ``bad``, ``warn`` or ``neutral``.

    Returns
    -------
    Markup
        Box for a ``callouts`` grid.
    """
    return el("div", el("h2", heading), body, class_=f"callout {kind}")


def key_figures(data: TearSheetData) -> Markup:
    """The eight figures a committee asks for first, each with its context and a small curve.

    Parameters
    ----------
    data : TearSheetData
        The run.

    Returns
    -------
    Markup
        A grid of cards.
    """
    curves = _curves(data)

    def of(name: str) -> Markup:
        return metric_value(data, name)

    interval = join(["95% CI ", of("sharpe_session_ci_low"), " to ", of("sharpe_session_ci_high")])
    cards = [
        ("sharpe_session", [interval, of("sharpe_method")], ""),
        (
            "annual_return",
            [join(["benchmark ", of("annual_return_benchmark")]), "net of costs"],
            "",
        ),
        ("annual_vol", [join(["beta ", of("beta")]), "annualised"], "muted"),
        (
            "max_drawdown",
            ["from a peak of net equity", _longest_drawdown(data)],
            "down",
        ),
        ("turnover_ann", ["per year, one way", join([of("n_trades"), " trades"])], "muted"),
        (
            "cost_share_of_gross",
            ["of gross profit", join([of("cost_bps_ann"), " per year"])],
            "warn",
        ),
        (
            "rank_ic_mean",
            [join(["Newey-West t ", of("rank_ic_t_nw")]), "mean over dates"],
            "",
        ),
        ("coverage_mean", ["of members priced", "mean over sessions"], "muted"),
    ]
    return el(
        "div",
        *(_card(data, name, context, curves.get(name), kind) for name, context, kind in cards),
        class_="kpis",
    )


def _longest_drawdown(data: TearSheetData) -> Markup:
    daily = data.daily
    longest = None
    if daily is not None and data.has_returns:
        under = top_drawdowns(daily["ret_net"], n_worst=len(daily))["sessions_under"]
        longest = int(under.max()) if len(under) else 0
    return join(["longest ", value("drawdowns.longest", longest, COUNT), " sessions"])


def _card(
    data: TearSheetData, name: str, context: list[object], curve: FloatVector | None, kind: str
) -> Markup:
    is_missing = is_absent(data.summary.get(name))
    lines: list[object] = [data.why_absent(name)] if is_missing else context
    return el(
        "section",
        el("h3", term(name), class_="kpi-label"),
        metric_value(data, name, tag="p", class_="kpi-value"),
        el("p", *(el("span", line) for line in lines), class_="kpi-context"),
        EMPTY if curve is None or is_missing else sparkline(curve, class_=kind),
        class_="kpi",
        data_panel=f"kpi-{name}",
        data_mode="absent" if is_missing else "filled",
    )


def _curves(data: TearSheetData) -> dict[str, FloatVector]:
    curves: dict[str, FloatVector] = {}
    daily = data.daily
    if daily is not None and data.has_returns:
        rolling = rolling_table(daily, periods_per_year=data.periods_per_year, window_sessions=126)
        curves["sharpe_session"] = rolling["sharpe"].to_numpy()
        curves["annual_vol"] = rolling["vol_ann"].to_numpy()
        curves["annual_return"] = growth_table(daily)["net"].to_numpy()
        curves["max_drawdown"] = drawdown_series(daily["ret_net"].to_numpy(dtype=float))
        if "turnover" in daily:
            curves["turnover_ann"] = daily["turnover"].rolling(63).mean().to_numpy()
        paid = [f"cost_{kind}" for kind in COST_KINDS if f"cost_{kind}" in daily]
        if paid:
            curves["cost_share_of_gross"] = daily[paid].sum(axis=1).cumsum().to_numpy()
    if data.ic_by_date is not None and len(data.ic_by_date):
        curves["rank_ic_mean"] = data.ic_by_date["rank_ic"].rolling(126).mean().to_numpy()
    if data.dataset.coverage is not None and len(data.dataset.coverage):
        curves["coverage_mean"] = data.dataset.coverage["share_covered"].to_numpy(dtype=np.float64)
    return curves


def sharpe_panel(data: TearSheetData) -> Markup:
    """The three Sharpe ratios side by side, so that none can be mistaken for another.

    Parameters
    ----------
    data : TearSheetData
        The run.

    Returns
    -------
    Markup
        Panel with one line per convention.
    """
    body = el(
        "table",
        el("caption", "Sharpe ratio by three conventions", class_="hidden-text"),
        el("thead", el("tr", *(el("th", text, scope="col", class_=css) for text, css in _HEADS))),
        el("tbody", *(_sharpe_line(data, line) for line in _CONVENTIONS)),
    )
    note = join(
        [
            "Observation days: ",
            metric_value(data, "observation_days"),
            ". Volatility floor used: ",
            metric_value(data, "vol_floor_applied"),
            ". Interval of the headline figure: ",
            metric_value(data, "sharpe_session_ci_low"),
            " to ",
            metric_value(data, "sharpe_session_ci_high"),
            " (95%, robust to skew, fat tails and serial correlation).",
        ]
    )
    box = el("div", body, class_="scroll", tabindex="0", role="region", aria_label="Sharpe ratios")
    return panel("sharpe", "Sharpe ratio, three conventions", box, span=12, note=note)


_HEADS = (
    ("Method", "txt"),
    ("Net Sharpe", "num"),
    ("One observation", "txt"),
    ("Annualisation", "txt"),
    ("Use", "txt"),
)

_CONVENTIONS = (
    (
        "sharpe_session",
        "session_agg_v1",
        "exchange session",
        "√252",
        "Headline figure; the gates read it.",
    ),
    ("sharpe_daily", "daily_agg_v1", "UTC day", "√365", "For markets that never close."),
    (
        "sharpe_step_raw",
        "step_raw",
        "simulation step",
        "none",
        "Diagnostic only; no gate reads it.",
    ),
)


def _sharpe_line(data: TearSheetData, line: tuple[str, str, str, str, str]) -> Markup:
    name, method, unit, factor, use = line
    is_missing = is_absent(data.summary.get(name))
    return el(
        "tr",
        el("th", method, scope="row", class_="mono txt"),
        metric_value(data, name, tag="td", class_="num"),
        el("td", unit, class_="txt"),
        el("td", factor, class_="txt"),
        el("td", data.why_absent(name) if is_missing else use, class_="txt"),
    )


def recorded_panel(data: TearSheetData) -> Markup:
    """Every metric of the summary, and the absent ones with their reasons.

    Parameters
    ----------
    data : TearSheetData
        The run.

    Returns
    -------
    Markup
        Panel with a list.
    """
    known = {**dict.fromkeys(data.absent), **dict.fromkeys(data.summary)}
    names = [name for name in METRICS if name in known]
    names += sorted(name for name in data.summary if name not in METRICS)
    if not names:
        return absent_panel("recorded", "All recorded figures", data.why_absent("summary"), span=12)
    return panel(
        "recorded",
        "All recorded figures",
        el("dl", *(_recorded(data, name) for name in names), class_="facts wide"),
        span=12,
    )


def _recorded(data: TearSheetData, name: str) -> Markup:
    is_missing = is_absent(data.summary.get(name))
    reason = el("span", data.why_absent(name), class_="why") if is_missing else None
    return el("div", el("dt", term(name)), el("dd", metric_value(data, name), reason))

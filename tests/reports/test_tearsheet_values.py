"""Every figure on the page is the figure of the input: compared one by one, derived a second time.

The expectations below are plain loops over the input tables. They share no code with the package
apart from nothing: not even its metrics.
"""

from __future__ import annotations

import math
import re
import statistics

import pytest

COSTS = ("fees", "spread", "impact", "borrow")


def compounded(returns) -> float:
    total = 1.0
    for one in returns:
        if not math.isnan(one):
            total *= 1.0 + one
    return total - 1.0


def deepest(returns) -> float:
    equity = peak = 1.0
    worst = 0.0
    for one in returns:
        equity *= 1.0 + one
        peak = max(peak, equity)
        worst = min(worst, equity / peak - 1.0)
    return worst


def iso(stamp) -> str:
    return str(stamp.date())


def direct_values(data) -> dict[str, object]:
    """Figures that are shown as they came."""
    run, dataset = data.run, data.dataset
    values: dict[str, object] = {
        "track": data.track.value,
        "verdict.promotable": data.verdict.promotable,
        "dataset.dataset_id": dataset.dataset_id,
        "dataset.source": dataset.source,
        "dataset.first_session": str(dataset.first_session),
        "dataset.last_session": str(dataset.last_session),
        "dataset.n_assets": dataset.n_assets,
        "run.horizon_sessions": run.horizon_sessions,
        "run.model_version": run.model_version,
        "run.run_id": run.run_id,
        "run.as_of": run.as_of,
        "run.seed": run.seed,
        "run.config_id": run.config_id,
        "run.code_digest": run.code_digest,
    }
    values |= {f"summary.{name}": value for name, value in data.summary.items()}
    for prefix, sentences in (
        ("verdict.reasons", data.verdict.reasons),
        ("warnings", data.warnings),
        ("time_contract", data.time_contract),
        ("dataset.absences", dataset.absences),
    ):
        values |= {f"{prefix}.{k}": text for k, text in enumerate(sentences)}
    for k, node in enumerate(data.lineage.nodes):
        values |= {
            f"lineage.{k}.kind": node.kind,
            f"lineage.{k}.label": node.label,
            f"lineage.{k}.sha256": node.sha256,
        }
    return values


def table_values(name: str, frame, key: str) -> dict[str, object]:
    values: dict[str, object] = {}
    for position in range(len(frame)):
        row = frame[key].tolist()[position]
        for column in frame.columns:
            content = frame[column].tolist()[position]
            values[f"{name}.{row}.{column}"] = iso(content) if hasattr(content, "date") else content
    return values


def tables(data) -> dict[str, object]:
    """Tables that are shown as they came."""
    values = table_values("folds", data.folds, "fold")
    values |= table_values("ic_by_year", data.ic_by_year, "year")
    values |= table_values("ic_by_horizon", data.ic_by_horizon, "horizon")
    values |= table_values("quantiles", data.quantile_returns, "quantile")
    values |= table_values("quality", data.quality_findings, "rule")
    slices = data.regime_slices.copy()
    names = {-1: "Warm-up", **data.regime_names}
    slices["regime"] = [names[code] for code in slices["regime"]]
    if (slices["n_sessions"] < 20).any():
        slices["flag"] = ["few sessions" if n < 20 else "enough" for n in slices["n_sessions"]]
    return values | table_values("regimes", slices, "regime")


def calendar_values(data) -> dict[str, object]:
    values: dict[str, object] = {}
    monthly = data.monthly_returns
    for year in sorted(set(monthly["year"])):
        values[f"monthly.{year}.year"] = year
        in_year = []
        for month in range(1, 13):
            found = [
                ret
                for y, m, ret in monthly[["year", "month", "ret_net"]].itertuples(index=False)
                if (y, m) == (year, month)
            ]
            values[f"monthly.{year}.{month}"] = found[0] if found else None
            in_year += found
        values[f"monthly.{year}.total"] = compounded(in_year)
    daily = data.daily
    for year in sorted(set(daily.index.year)):
        part = daily[daily.index.year == year]
        net = part["ret_net"].tolist()
        mean, deviation = statistics.fmean(net), statistics.stdev(net)
        prefix = f"years.{year}"
        values |= {
            f"{prefix}.year": year,
            f"{prefix}.n_sessions": len(net),
            f"{prefix}.ret_net": compounded(net),
            f"{prefix}.ret_gross": compounded(part["ret_gross"].tolist()),
            f"{prefix}.ret_benchmark": compounded(part["benchmark_ret"].tolist()),
            f"{prefix}.vol_ann": deviation * math.sqrt(data.periods_per_year),
            f"{prefix}.sharpe": mean / deviation * math.sqrt(data.periods_per_year),
            f"{prefix}.max_drawdown": deepest(net),
        }
        prefix = f"costs.{year}"
        by_kind = {kind: 1e4 * math.fsum(part[f"cost_{kind}"]) for kind in COSTS}
        values |= {f"{prefix}.{kind}": paid for kind, paid in by_kind.items()}
        values |= {
            f"{prefix}.year": year,
            f"{prefix}.n_sessions": len(part),
            f"{prefix}.turnover": math.fsum(part["turnover"]),
            f"{prefix}.total": math.fsum(by_kind.values()),
        }
    return values


def drawdown_values(data) -> dict[str, object]:
    """Walk through equity session by session and write down every stretch below the old high."""
    sessions = [iso(one) for one in data.daily.index]
    equity = peak = 1.0
    stretches, current = [], None
    for position, one in enumerate(data.daily["ret_net"]):
        equity *= 1.0 + one
        if equity < peak:
            if current is None:
                current = {"start": position, "depth": 0.0, "trough": position}
            if equity / peak - 1.0 < current["depth"]:
                current |= {"depth": equity / peak - 1.0, "trough": position}
        else:
            peak = equity
            if current is not None:
                stretches.append(current | {"stop": position})
                current = None
    if current is not None:
        stretches.append(current | {"stop": None})
    values: dict[str, object] = {}
    stop_of = [one["stop"] or len(sessions) for one in stretches]
    lengths = [stop - one["start"] for one, stop in zip(stretches, stop_of, strict=True)]
    values["drawdowns.longest"] = max(lengths)
    worst = sorted(stretches, key=lambda one: one["depth"])[:5]
    for rank, one in enumerate(worst, start=1):
        start, stop = one["start"], one["stop"]
        values |= {
            f"drawdowns.{rank}.rank": rank,
            f"drawdowns.{rank}.depth": one["depth"],
            f"drawdowns.{rank}.peak": sessions[start - 1] if start else None,
            f"drawdowns.{rank}.trough": sessions[one["trough"]],
            f"drawdowns.{rank}.recovered": sessions[stop] if stop else None,
            f"drawdowns.{rank}.sessions_to_trough": one["trough"] - start + 1,
            f"drawdowns.{rank}.sessions_under": (stop or len(sessions)) - start,
        }
    return values


def trade_values(data) -> dict[str, object]:
    rows = data.trades.to_dict("records")
    closed = [row for row in rows if row["exit_reason"] != "end_of_run"]
    assert 0 < len(closed) < len(rows)
    values: dict[str, object] = {"trades.n_not_closed": len(rows) - len(closed)}
    for group in ("all", "long", "short"):
        part = [row for row in closed if group in ("all", row["side"])]
        returns = [row["ret_net"] for row in part]
        wins = [one for one in returns if one > 0]
        losses = [one for one in returns if one < 0]
        values |= {
            f"trade_statistics.{group}.{name}": content
            for name, content in {
                "group": group,
                "n_trades": len(part),
                "hit_rate": len(wins) / len(part),
                "mean_ret": statistics.fmean(returns),
                "median_ret": statistics.median(returns),
                "mean_win": statistics.fmean(wins),
                "mean_loss": statistics.fmean(losses),
                "profit_factor": -math.fsum(wins) / math.fsum(losses),
                "mean_holding_sessions": statistics.fmean(row["holding_sessions"] for row in part),
            }.items()
        }
    for reason in {row["exit_reason"] for row in closed}:
        part = [row["ret_net"] for row in closed if row["exit_reason"] == reason]
        values |= {
            f"exits.{reason}.exit_reason": reason,
            f"exits.{reason}.n_trades": len(part),
            f"exits.{reason}.share": len(part) / len(closed),
            f"exits.{reason}.mean_ret": statistics.fmean(part),
        }
    ranked = sorted(closed, key=lambda row: row["pnl_usd"])
    shown = ("ticker", "side", "entry_session", "exit_session", "holding_sessions")
    shown += ("entry_price", "exit_price", "ret_net", "pnl_usd")
    for name, chosen in (("worst", ranked[:8]), ("best", ranked[::-1][:8])):
        for position, row in enumerate(chosen):
            for column in shown:
                content = row[column]
                values[f"trades.{name}.{position}.{column}"] = (
                    iso(content) if hasattr(content, "date") else content
                )
    return values


def moment(values, power: int) -> float:
    mean = statistics.fmean(values)
    return statistics.fmean((one - mean) ** power for one in values)


def derived_values(data) -> dict[str, object]:
    daily = data.daily
    net = daily["ret_net"].tolist()
    n = len(net)
    losses = sorted((-one for one in net), reverse=True)
    # The 5 % worst of 700 sessions are 35: VaR is the 36th worst, ES the mean of those 35.
    n_tail = round(0.05 * n)
    assert n_tail == pytest.approx(0.05 * n)
    second = moment(net, 2)
    skew = moment(net, 3) / second**1.5
    kurtosis = moment(net, 4) / second**2 - 3
    covered = data.dataset.coverage["share_covered"].tolist()
    lowest = covered.index(min(covered))
    rank_ic = [one for one in data.ic_by_date["rank_ic"] if not math.isnan(one)]
    means = dict(data.quantile_returns[["quantile", "mean_fwd_return_bps"]].itertuples(index=False))
    equity_gaps = [
        abs(after / before - 1 - ret)
        for before, after, ret in zip(
            daily["equity"].iloc[:-1], daily["equity"].iloc[1:], net[1:], strict=True
        )
    ]
    cost_gaps = [
        abs(row["ret_gross"] - sum(row[f"cost_{kind}"] for kind in COSTS) - row["ret_net"])
        for row in daily.to_dict("records")
    ]
    series = {"net": "ret_net", "gross": "ret_gross", "benchmark": "benchmark_ret"}
    series["hedged"] = "ret_hedged"
    return {
        **{
            f"growth.{name}.last": 1.0 + compounded(daily[column].tolist())
            for name, column in series.items()
        },
        "reconcile.equity_gap_bps": 1e4 * max(equity_gaps),
        "reconcile.cost_gap_bps": 1e4 * max(cost_gaps),
        "distribution.var": losses[n_tail],
        "distribution.es": statistics.fmean(losses[:n_tail]),
        "distribution.skew": skew * math.sqrt(n * (n - 1)) / (n - 2),
        "distribution.excess_kurtosis": (n - 1) / (n - 2) / (n - 3) * ((n + 1) * kurtosis + 6),
        "ic.share_positive": sum(one > 0 for one in rank_ic) / len(rank_ic),
        "quantiles.spread": means[max(means)] - means[min(means)],
        "coverage.n_sessions": len(covered),
        "coverage.assets": statistics.fmean(data.dataset.coverage["n_assets"]),
        "coverage.members": statistics.fmean(data.dataset.coverage["n_members"]),
        "coverage.mean": statistics.fmean(covered),
        "coverage.lowest": covered[lowest],
        "coverage.lowest_session": iso(data.dataset.coverage.index[lowest]),
        "folds.n": len(data.folds),
        "folds.n_positive": sum(one > 0 for one in data.folds["rank_ic"]),
    }


PART_NAMES = {
    "market": "Market (mean of names)",
    "sector": "Sectors",
    "momentum": "Momentum",
    "size": "Size",
    "selection": "Selection of names",
    "trading": "Trading inside sessions",
    "costs": "Costs",
    "alpha": "Alpha (last three)",
    "net": "Net return",
}


def by_position(name: str, rows: list[dict[str, object]]) -> dict[str, object]:
    return {
        f"{name}.{k}.{column}": content
        for k, row in enumerate(rows)
        for column, content in row.items()
    }


def evaluation_values(data) -> dict[str, object]:
    found, values = data.evaluation, {}
    orders = found.tca.drop(columns="traded_value").to_dict("records")
    for row in orders:
        for part in ("delay", "spread", "impact", "fees", "opportunity"):
            row[part] = row[part] / row["ordered_value"] * 1e4
    values |= by_position("tca", orders)
    bridge = found.metrics["trading_costs"]
    values |= {f"tca.{name}": bridge[name] for name in bridge if name != "gap"}
    for row in found.attribution_totals.to_dict("records"):
        prefix = f"attribution_totals.{row['part']}"
        values |= {f"{prefix}.name": PART_NAMES[row["part"]]}
        values |= {f"{prefix}.{name}": row[name] for name in ("total_frac", "money")}
    total = {row["part"]: row["total_frac"] for row in found.attribution_totals.to_dict("records")}
    values |= {
        "attribution.explained": total["net"] - total["alpha"],
        "attribution.beta_part": found.metrics["benchmark"]["beta_part"],
        "attribution.beta_net": found.metrics["benchmark"]["net"],
    }
    for name in ("rolling_ic_decay", "pnl_top20_frac", "disagreement_mean"):
        values[f"evaluation.{name}"] = found.metrics[name]
    for name, table in (("slices", found.slices), ("calibration", found.calibration_slices)):
        rows = table.to_dict("records")
        for row in rows:
            row["n_obs_note"] = "thin" if row.pop("is_thin") else "enough"
            row["slice"] = row["slice"].replace("_", " ")
        of_trades = [row for row in rows if row["dimension"] in ("sector", "size")]
        shown = ("dimension", "slice", "n_obs", "n_obs_note", "pnl_net")
        values |= by_position(
            f"{name}_trades", [{column: row[column] for column in shown} for row in of_trades]
        )
        values |= by_position(name, [row for row in rows if row not in of_trades])
    rows = [
        {name: row[name] for name in ("check", "verdict", "reason")}
        for row in data.checks.to_dict("records")
    ]
    for row in rows:
        row["verdict"] = row["verdict"].partition("_")[0]
    values |= by_position("checks", rows)
    for word in ("pass", "warn", "fail", "insufficient"):
        values[f"checks.n_{word}"] = sum(row["verdict"] == word for row in rows)
    return values


def episode_values(data) -> dict[str, object]:
    """Falls of the benchmark, walked through session by session, and the bridge of costs."""
    daily = data.daily
    year = data.periods_per_year / len(daily)
    values: dict[str, object] = {
        f"bridge.{kind}": -math.fsum(daily[f"cost_{kind}"]) * year for kind in COSTS
    }
    values |= {
        f"bridge.{name}": math.fsum(daily[f"ret_{name}"]) * year for name in ("gross", "net")
    }
    closed = data.trades[data.trades["exit_reason"] != "end_of_run"].to_dict("records")
    values["excursions.mae_of_gains"] = statistics.median(
        row["mae_frac"] for row in closed if row["ret_net"] > 0
    )
    values["excursions.mfe_of_losses"] = statistics.median(
        row["mfe_frac"] for row in closed if row["ret_net"] <= 0
    )
    market, book = daily["benchmark_ret"].tolist(), daily["ret_net"].tolist()
    sessions = [iso(one) for one in daily.index]
    wealth = peak = 1.0
    top, low, depth, falls = -1, -1, 0.0, []
    for position, change in enumerate([*market, math.inf]):
        wealth *= 1.0 + change
        if wealth >= peak:
            if depth < 0.0:
                falls.append((depth, top, low, position))
            peak, top, low, depth = wealth, position, -1, 0.0
        elif wealth / peak - 1.0 < depth:
            depth, low = wealth / peak - 1.0, position
    for number, (depth, top, low, end) in enumerate(sorted(falls)[:4], start=1):
        stop = min(end + 1, len(sessions))
        content = {
            "episode": number,
            "peak": sessions[top] if top >= 0 else None,
            "trough": sessions[low],
            "recovered": sessions[end] if end < len(sessions) else None,
            "sessions_to_trough": low - top,
            "benchmark_fall": depth,
            "book_in_fall": compounded(book[top + 1 : low + 1]),
            "benchmark_whole": compounded(market[top + 1 : stop]),
            "book_whole": compounded(book[top + 1 : stop]),
            "book_drawdown": deepest(book[top + 1 : stop]),
        }
        values |= {f"crises.{number}.{name}": one for name, one in content.items()}
    return values


@pytest.fixture(scope="module")
def expected(run_data) -> dict[str, object]:
    values: dict[str, object] = {}
    for part in (
        direct_values(run_data),
        tables(run_data),
        calendar_values(run_data),
        drawdown_values(run_data),
        trade_values(run_data),
        derived_values(run_data),
        evaluation_values(run_data),
        episode_values(run_data),
    ):
        assert not set(values) & set(part)
        values |= part
    return values


@pytest.mark.feature("Q-04")
@pytest.mark.feature("Q-34")
def test_page_shows_every_expected_figure_and_no_other(page, expected) -> None:
    shown = {element.get("data-metric") for element in page.all(having="data-metric")}
    assert shown - set(expected) == set()
    assert set(expected) - shown == set()
    assert len(expected) > 500


@pytest.mark.feature("Q-04")
def test_every_exact_value_equals_the_input(page, expected) -> None:
    for element in page.all(having="data-metric"):
        name, written = element.get("data-metric"), element.get("data-value")
        content = expected[name]
        if content is None or (isinstance(content, float) and math.isnan(content)):
            assert written == "", name
        elif isinstance(content, float):
            assert float(written) == pytest.approx(content, rel=1e-9, abs=1e-9), name
        else:
            assert written == str(content), name


@pytest.mark.feature("Q-04")
def test_figures_of_the_summary_are_written_in_full(page, run_data) -> None:
    shown = {
        element.get("data-metric"): element.get("data-value")
        for element in page.all(having="data-metric")
    }
    for name, content in run_data.summary.items():
        if isinstance(content, float):
            assert shown[f"summary.{name}"] == repr(content)


def text_as_number(text: str) -> tuple[float, float]:
    """Value and half of the last shown digit, in stored units."""
    match = re.fullmatch(r"([+−]?)([\d,]+(?:\.(\d+))?)(%| bps|×)?", text)
    assert match is not None, text
    sign, digits, decimals, unit = match.groups()
    # Percentages are stored as fractions; bps and times are stored as they are shown.
    scale = 0.01 if unit == "%" else 1.0
    number = float(digits.replace(",", "")) * scale * (-1.0 if sign == "−" else 1.0)
    return number, 0.5 * 10.0 ** -len(decimals or "") * scale


@pytest.mark.feature("Q-04")
def test_rounded_text_agrees_with_the_exact_value(page) -> None:
    checked = 0
    for element in page.all(having="data-metric"):
        written, text = element.get("data-value"), element.text
        if written == "":
            assert text == "n/a"
        elif re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", written) and text not in ("yes", "no"):
            if text == written or written.startswith(text):
                continue
            number, tolerance = text_as_number(text)
            assert abs(number - float(written)) <= tolerance * (1 + 1e-9), element
            checked += 1
        elif element.get("data-metric").endswith(("sha256", "config_id", "code_digest")):
            assert text == written[:12]
    assert checked > 300


def test_gain_and_loss_are_never_told_by_colour_alone(page) -> None:
    for element in page.all(having="data-metric"):
        classes = element.get("class").split()
        if "up" in classes:
            assert element.text.startswith("+")
        if "down" in classes:
            assert element.text.startswith("−")


def test_no_figure_is_written_without_its_exact_value(page, parse, fake_run_module) -> None:
    """Digits outside of marked elements are constants: they are the same for another run."""
    from quant_engine.reports import render_tearsheet

    other = parse(render_tearsheet(fake_run_module.fake_run(520, n_trades=150, seed=11)))

    def with_digits(one):
        return [text for text in one.bare_text if re.search(r"\d", text)]

    assert with_digits(page) == with_digits(other)
    assert with_digits(page)


@pytest.mark.feature("L-03")
def test_three_sharpe_ratios_stand_side_by_side_with_their_methods(page) -> None:
    rows = [element.text for element in page.all("tr") if "agg_v1" in element.text]
    names = {
        element.get("data-metric")
        for element in page.all("td", having="data-metric")
        if element.get("data-metric").startswith("summary.sharpe")
    }
    assert [row.split("_agg")[0] for row in rows] == ["session", "daily"]
    assert names == {"summary.sharpe_session", "summary.sharpe_daily", "summary.sharpe_step_raw"}
    assert any("no gate reads it" in element.text for element in page.all("td"))

"""Plug-ins and strategy files of the earlier interface run unchanged."""

import sys
import textwrap
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.calendar import sessions_between
from quant_engine.core.causality import Causality
from quant_engine.core.errors import (
    ConfigError,
    IdentityError,
    MissingFieldError,
    SchemaMismatchError,
)
from quant_engine.core.panel import Panel
from quant_engine.core.published import Published
from quant_engine.data.panel import build_panel
from quant_engine.data.providers import BarQuery, make_provider
from quant_engine.data.statements import (
    STATEMENT_COLUMNS,
    Statements,
    load_statements,
)
from quant_engine.features.factors.base import FactorSpec
from quant_engine.features.factors.pipeline import FactorPipelineSpec, NeutraliseSpec
from quant_engine.features.factors.plan import factor_causality, run_factors
from quant_engine.workflows import seed_factors
from quant_engine.workflows.factors import factor_inputs, factor_scores
from quant_engine.workflows.seed_factors import (
    FactorBase,
    FactorPipeline,
    PluginMetadata,
    SeedPlugins,
    discover_plugins,
    plugin_matrix,
    read_strategy,
    seed_names,
)

pytestmark = pytest.mark.feature("D-02")

STRATEGY = """\
# config/strategies.yaml
strategy:
  name: "momentum_quality"
  version: "1.0"
  description: "Momentum + Quality with HRP"

factors:
  - name: "VSM"
    params: {lookback: 252, vol_window: 60}
  - name: "BAB"
    enabled: true
  - name: "QMJ"
    params: {profitability_weight: 0.5}

optimizer:
  name: "HRP"
  params: {linkage_method: "ward"}

risk_rules:
  - name: "MaxWeight"
    params: {max_weight: 0.10}
  - name: "Sector"
    params: {max_sector_weight: 0.30}
  - name: "Beta"
    params: {min_beta: 0.8, max_beta: 1.2}
"""

PLUGIN = """\
from typing import Dict

import pandas as pd

from quant.core import FactorBase, PluginMetadata, register_factor


@register_factor("MyFactor")
class MyFactor(FactorBase):
    def __init__(self, params: Dict = None):
        self.params = params or {}
        self.lookback = self.params.get("lookback", 252)

    @property
    def metadata(self):
        return PluginMetadata(
            name="MyFactor",
            description="Custom factor implementation",
            version="1.0.0",
            parameters={"lookback": "Lookback period in days"},
        )

    def compute(self, data: pd.DataFrame) -> pd.Series:
        close = data.pivot(index="date", columns="ticker", values="close")
        return close.pct_change(self.lookback, fill_method=None).iloc[-1]
"""

TICKERS = [f"S{number:02d}" for number in range(12)]


@pytest.fixture
def plugins(monkeypatch):
    """A registry of its own, so that tests leave nothing behind."""
    mine = SeedPlugins()
    monkeypatch.setattr(seed_factors, "PLUGINS", mine)
    return mine


@pytest.fixture
def package(tmp_path, monkeypatch, plugins):
    folder = tmp_path / "my_plugins"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "my_factor.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_plugins"
    for name in [name for name in sys.modules if name.split(".")[0] == "my_plugins"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def market() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    days = pd.DatetimeIndex(sessions_between("XNYS", "2018-01-02", "2019-06-28"))
    common = rng.normal(0.0004, 0.008, (len(days), 1))
    moves = rng.uniform(0.5, 1.5, 12) * common + rng.normal(0, 0.01, (len(days), 12))
    wide = pd.DataFrame(50 * np.exp(np.cumsum(moves, axis=0)), days, TICKERS)
    frame = wide.rename_axis("date").reset_index().melt("date", var_name="ticker")
    frame = frame.rename(columns={"value": "close"})
    frame["sector"] = frame["ticker"].map(dict(zip(TICKERS, "ABC" * 4, strict=True)))
    return frame


@pytest.fixture(scope="module")
def reports() -> Statements:
    """Seven years of quarterly reports with everything that quality reads."""
    rng = np.random.default_rng(4)
    spans = {
        "gross_profit_usd": 1,
        "net_income_usd": 1,
        "operating_cash_flow_usd": 1,
        "total_assets_usd": 0,
        "book_equity_usd": 0,
    }
    rows = []
    for ticker in TICKERS:
        for slot in range(4 * 2012, 4 * 2019 + 1):
            year, quarter = divmod(slot, 4)
            end = pd.Timestamp(year, 3 * quarter + 3, 1) + pd.offsets.MonthEnd(0)
            known = end + pd.Timedelta(days=int(rng.integers(20, 60)))
            for item, span in spans.items():
                base = 100.0 if span == 0 else 4.0
                base = 40.0 if item == "book_equity_usd" else base
                value = base * rng.uniform(0.7, 1.3)
                rows.append((f"{ticker}@US#1", item, year, quarter + 1, span, end, known, value))
    return Statements(pd.DataFrame(rows, columns=list(STATEMENT_COLUMNS)), "drawn")


@pytest.fixture
def strategy_file(tmp_path):
    path = tmp_path / "strategies.yaml"
    path.write_text(STRATEGY)
    return path


def panel_of(market: pd.DataFrame) -> Panel:
    frame = market[["date", "ticker", "close"]].assign(asset_id=market["ticker"] + "@US#1")
    return Panel.from_long(frame.set_index(["date", "asset_id"])[["close"]])


class TestStrategyFile:
    def test_everything_is_read(self, strategy_file):
        strategy = read_strategy(strategy_file)
        assert strategy.strategy.name == "momentum_quality"
        assert [one.name for one in strategy.factors] == ["VSM", "BAB", "QMJ"]
        assert strategy.optimizer.params == {"linkage_method": "ward"}
        assert [one.name for one in strategy.risk_rules] == ["MaxWeight", "Sector", "Beta"]

    def test_scores(self, strategy_file, market, reports, plugins):
        scores = FactorPipeline.from_config(str(strategy_file)).compute_all(
            market, statements=reports
        )
        assert list(scores.columns) == ["VSM", "BAB", "QMJ"]
        assert scores.index.tolist() == TICKERS
        assert np.isfinite(scores.to_numpy()).all()
        sectors = market.groupby("ticker")["sector"].last()
        np.testing.assert_allclose(scores.groupby(sectors).mean(), 0.0, atol=1e-12)
        close = market.pivot(index="date", columns="ticker", values="close")
        year = close.iloc[-22] / close.iloc[-253] - 1
        raw = year / close.pct_change().iloc[-60:].std()
        pulled = raw.clip(raw.quantile(0.01), raw.quantile(0.99))
        z = (pulled - pulled.mean()) / pulled.std()
        want = z - z.groupby(sectors).transform("mean")
        np.testing.assert_allclose(scores["VSM"], want, rtol=1e-9)

    def test_reports_are_needed_by_what_reads_them(self, strategy_file, market, plugins):
        with pytest.raises(MissingFieldError, match="report item"):
            FactorPipeline.from_config(strategy_file).compute_all(market)

    def test_sectors_are_needed_or_switched_off(self, tmp_path, market, plugins):
        path = tmp_path / "s.yaml"
        path.write_text("strategy: {name: x}\nfactors: [{name: VSM}]")
        bare = market.drop(columns="sector")
        with pytest.raises(MissingFieldError, match="sector_neutral=False"):
            FactorPipeline.from_config(path).compute_all(bare)
        plain = FactorPipeline.from_config(path, sector_neutral=False)
        assert plain.compute_all(bare).notna().all().all()

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("strategy: {name: x}\nfactors: [{name: VSN}]", "VSM"),
            ("strategy: {name: x}\nfactors: []", "factors"),
            ("strategy: {name: x}\nfactors: [{name: VSM, weight: 1}]", "weight"),
            ("strategy: {name: x}\nfactor: [{name: VSM}]", "factors"),
        ],
    )
    def test_bad_files(self, tmp_path, text, match, plugins):
        path = tmp_path / "s.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match=match):
            FactorPipeline.from_config(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(ConfigError, match=r"none\.yaml"):
            read_strategy(tmp_path / "none.yaml")

    def test_unknown_parameter_and_repeated_factor(self, tmp_path, market, plugins):
        path = tmp_path / "s.yaml"
        path.write_text("strategy: {name: x}\nfactors: [{name: VSM, params: {window: 3}}]")
        with pytest.raises(ConfigError, match="window"):
            FactorPipeline.from_config(path).compute_all(market)
        path.write_text("strategy: {name: x}\nfactors: [{name: VSM}, {name: VSM}]")
        with pytest.raises(ConfigError, match="several factors"):
            FactorPipeline.from_config(path).compute_all(market)


class TestPlugins:
    def test_a_plugin_runs_unchanged(self, package, tmp_path, market, plugins):
        assert discover_plugins(package) == ["MyFactor"]
        assert discover_plugins(package) == []
        assert "quant" not in sys.modules
        path = tmp_path / "s.yaml"
        path.write_text(
            textwrap.dedent(
                """\
                strategy: {name: mine}
                factors:
                  - {name: MyFactor, params: {lookback: 100}}
                  - {name: Momentum, params: {lookback: 100}}
                  - {name: BAB, enabled: false}
                """
            )
        )
        scores = FactorPipeline.from_config(path).compute_all(market)
        assert list(scores.columns) == ["MyFactor", "Momentum"]
        np.testing.assert_allclose(scores["MyFactor"], scores["Momentum"], rtol=1e-9, atol=1e-12)
        assert plugins.get_all_metadata()["MyFactor"].description == "Custom factor implementation"

    def test_the_pipeline_is_found_under_its_earlier_name(self, strategy_file):
        with seed_names():
            from quant.features.pipeline import FactorPipeline as Earlier

            assert Earlier is FactorPipeline
        with pytest.raises(ModuleNotFoundError):
            import quant.core  # noqa: F401

    def test_plugins_alone_need_no_shipped_factor(self, package, tmp_path, market, plugins):
        discover_plugins(package)
        path = tmp_path / "s.yaml"
        path.write_text("strategy: {name: x}\nfactors: [{name: MyFactor}]")
        assert list(FactorPipeline.from_config(path).compute_all(market)) == ["MyFactor"]

    def test_matrix_sees_no_later_row(self, market, plugins):
        seen = []

        class Watching(FactorBase):
            metadata = PluginMetadata("Watching", "Remembers the last date it was shown.")

            def compute(self, data):
                seen.append(data["date"].max())
                return data.groupby("ticker")["close"].last()

        panel = panel_of(market)
        scores = plugin_matrix(Watching(), panel, rows=[5, 9])
        assert seen == [panel.time.index[5], panel.time.index[9]]
        np.testing.assert_array_equal(scores[[5, 9]], panel.field("close")[[5, 9]])
        assert np.isnan(scores[[0, 6, -1]]).all()

    @pytest.mark.parametrize(
        "answer", [3.0, pd.Series({"S00": "a"}), pd.Series({"XX": 1.0}), pd.Series([1.0, 2.0])]
    )
    def test_a_plugin_must_answer_by_ticker(self, market, answer):
        class Odd(FactorBase):
            metadata = PluginMetadata("Odd", "Answers something else.")

            def compute(self, data):
                return answer

        with pytest.raises(SchemaMismatchError, match="by ticker"):
            plugin_matrix(Odd(), panel_of(market), rows=[3])

    def test_names_are_unique(self, plugins):
        class One(FactorBase):
            metadata = PluginMetadata("One", "First.")

            def compute(self, data):
                return data.groupby("ticker")["close"].last()

        plugins.register_factor("One")(One)
        for name in ("One", "VSM"):
            with pytest.raises(ConfigError, match="never overwritten"):
                plugins.register_factor(name)(One)
        with pytest.raises(ConfigError, match="One"):
            plugins.get_factor("Onne")

    def test_no_such_package(self, plugins):
        with pytest.raises(ConfigError, match="importable package"):
            discover_plugins("no_such_package_of_plugins")

    def test_another_package_of_that_name_is_left_alone(self, monkeypatch):
        other = ModuleType("quant")
        monkeypatch.setitem(sys.modules, "quant", other)
        with pytest.raises(ConfigError, match="a name that is free"), seed_names():
            pass
        assert sys.modules["quant"] is other

    def test_one_spelling_per_ticker(self, market, strategy_file, plugins):
        mixed = pd.concat([market, market[market["ticker"] == "S00"].assign(ticker="s00")])
        with pytest.raises(IdentityError, match="upper and lower case"):
            FactorPipeline.from_config(strategy_file).compute_all(mixed)


NAMES = ("AAPL", "CAT", "IBM", "JNJ", "KO", "MSFT", "WMT", "XOM")


@pytest.mark.slow
def test_real_prices_and_filings(shared_data):
    """Eight names without a split in those years, so that adjusted closes are the quoted ones."""
    folder = shared_data / "equities"
    provider = make_provider("local", path=folder / "sp500_iex_201802")
    bars = provider.load(BarQuery(tickers=NAMES, start="2014-01-02", end="2016-06-30"))
    panel = build_panel(bars).panel
    panel = panel.with_fields({"close_raw": panel.field("close")})
    filings = load_statements(folder / "eq_pystock_reports_2015_03_2016_06.csv.gz")
    quality = {"profitability": ["roe", "roa", "cfoa"], "growth": []}
    spec = FactorPipelineSpec(
        name="real",
        factors=(
            FactorSpec(name="qmj", params=quality),
            FactorSpec(name="earnings_yield"),
            FactorSpec(name="accruals"),
            FactorSpec(name="pead"),
            FactorSpec(name="momentum_12_1"),
        ),
        neutralise=NeutraliseSpec(),
    )
    inputs = factor_inputs(panel, spec, statements=filings)
    values = run_factors(inputs, spec.factors)
    row, apple = panel.time.position("2015-10-28"), panel.asset_ids.index("AAPL@US#1")
    yields = values.factor(FactorSpec(name="earnings_yield"))[:, apple]
    assert np.isnan(yields[row - 1])
    assert yields[row] == pytest.approx(9.22 / panel.field("close")[row, apple])
    accruals = values.factor(FactorSpec(name="accruals"))[row, apple]
    assert accruals == pytest.approx((53_394 - 81_266) / 290_479)
    drift = values.factor(FactorSpec(name="pead"))[:, apple]
    assert np.isnan(drift[row])
    assert np.isfinite(drift[row + 1 : row + 61]).all()
    scores = factor_scores(panel, spec, statements=filings)
    spring = panel.time.position("2016-04-01")
    assert np.isfinite(scores.field("qmj")[spring]).sum() >= 6
    assert np.isnan(scores.field("qmj")[: panel.time.position("2015-07-01")]).all()
    # Filings after a day are nothing to the days before it.
    table = filings.table
    known = Statements(table[table["known_ts"] <= "2016-02-29"], filings.vendor)
    stop = panel.time.position("2016-02-29") + 1
    earlier = factor_scores(panel, spec, statements=known)
    for name, field in scores.fields.items():
        np.testing.assert_array_equal(field[:stop], earlier.field(name)[:stop])


def test_own_tables_stand_beside_reports(market, reports):
    panel = panel_of(market)
    days = np.broadcast_to(panel.time.values[:, None], panel.shape)
    mood = Published(np.random.default_rng(1).normal(size=panel.shape), days, days)
    spec = FactorPipelineSpec(
        name="own", factors=(FactorSpec(name="sentiment"), FactorSpec(name="accruals"))
    )
    with pytest.raises(MissingFieldError, match="sentiment"):
        factor_scores(panel, spec, statements=reports)
    scores = factor_scores(panel, spec, statements=reports, published={"sentiment": mood})
    assert np.isfinite(scores.field("sentiment")).all()
    assert np.isfinite(scores.field("accruals")[-1]).all()
    assert factor_causality(spec.factors) is Causality.END_OF_DAY

"""Conformance suites: a good plug-in passes, and for every rule there is a bad one that fails."""

import io
import multiprocessing
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import MissingExtraError
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.core.registry import PluginMetadata, Registry
from quant_engine.testing import (
    ConformanceError,
    LeakFoundError,
    check_feature_set,
    check_learner,
    check_provider,
    check_registry,
)

pytestmark = pytest.mark.feature("D-01")


def broken_rule(call, *args, **kwargs) -> str:
    with pytest.raises(ConformanceError) as caught:
        call(*args, **kwargs)
    assert isinstance(caught.value, AssertionError)
    assert caught.value.exit_code == 4
    assert caught.value.rule in str(caught.value)
    return caught.value.rule


class Window(FrozenConfig):
    window: int = Field(default=5, ge=2)


class Loose(FrozenConfig, extra="allow"):
    window: int = 5


class TestRegistry:
    GOOD = PluginMetadata(
        summary="A moving average.", params=Window, test_params=({}, {"window": 9})
    )

    def registry(self, name="moving_average", metadata=GOOD) -> Registry:
        registry: Registry = Registry("factor")
        registry.register(name, metadata=metadata)(lambda params: params.window)
        return registry

    def check(self, **changes):
        name = changes.pop("name", "moving_average")
        registry = self.registry(name, replace(self.GOOD, **changes))
        return check_registry(registry, build=lambda plugin, params: plugin(params))

    def test_a_good_registry_lists_what_was_built(self):
        assert self.check() == ("moving_average[0]", "moving_average[1]")
        assert check_registry(Registry("factor"), build=lambda plugin, params: plugin) == ()

    @pytest.mark.parametrize(
        ("rule", "changes"),
        [
            ("names", {"name": "Moving-Average"}),
            ("summary", {"summary": ""}),
            ("summary", {"summary": " "}),
            ("version", {"version": ""}),
            ("test_params", {"test_params": ()}),
            ("test_params", {"test_params": ({"window": 1},)}),
            ("test_params", {"test_params": ({}, {"windw": 9})}),
            ("unknown parameter", {"params": Loose}),
        ],
    )
    def test_every_rule(self, rule, changes):
        assert broken_rule(self.check, **changes) == rule

    def test_a_builder_that_returns_nothing(self):
        rule = broken_rule(check_registry, self.registry(), build=lambda plugin, params: None)
        assert rule == "build"

    def test_a_builder_that_raises_is_not_hidden(self):
        with pytest.raises(ZeroDivisionError):
            check_registry(self.registry(), build=lambda plugin, params: 1 / 0)

    def test_an_optional_dependency_that_is_not_installed_is_passed_over(self):
        def build(plugin, params):
            raise MissingExtraError.for_extra("neural", package="torch", purpose="a network")

        registry = self.registry(metadata=replace(self.GOOD, extra="neural"))
        assert check_registry(registry, build=build) == ()
        with pytest.raises(MissingExtraError):
            check_registry(self.registry(), build=build)

    def test_a_registry_that_invents_plugins(self):
        class Generous(Registry):
            def get(self, name):
                return self._plugins.get(name, lambda params: 1)

        generous = Generous("factor")
        assert broken_rule(check_registry, generous, build=lambda p, c: 1) == "unknown name"


def market() -> Panel:
    rng = np.random.default_rng(0)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, (90, 6)), axis=0))
    close[40:43, 2] = np.nan
    axis = TimeAxis.sessions(np.datetime64("2020-01-01") + np.arange(90), "24/7")
    return Panel(axis, tuple(f"T{n}@US#1" for n in range(6)), {"close": close})


def features(panel: Panel) -> Panel:
    close = panel.field("close")
    past = np.full_like(close, np.nan)
    past[1:] = close[1:] / close[:-1] - 1
    rank = pd.DataFrame(past).rank(axis=1, pct=True).to_numpy()
    fields = {"ret_1": past.astype(np.float32), "rank_1": rank.astype(np.float32)}
    return panel.with_fields(fields).only_fields(["ret_1", "rank_1"])


OPTIONS = {"names": ["ret_1", "rank_1"], "cuts": [50, 70]}


class TestFeatureSet:
    def test_a_good_set_passes(self):
        report = check_feature_set(features, market(), **OPTIONS)
        assert report.fields == ("ret_1", "rank_1")
        assert report.n_values > 200

    @pytest.mark.parametrize(
        ("rule", "change"),
        [
            ("axes", lambda panel, made: made.rows(1, len(made.time))),
            ("axes", lambda panel, made: made.columns(np.arange(5))),
            ("columns", lambda panel, made: made.only_fields(["rank_1", "ret_1"])),
            ("columns", lambda panel, made: made.only_fields(["ret_1"])),
            (
                "dtype",
                lambda panel, made: made.with_fields({"ret_1": made.field("ret_1").astype(float)}),
            ),
            (
                "no infinity",
                lambda panel, made: made.with_fields(
                    {"ret_1": np.full(made.shape, np.inf, np.float32)}
                ),
            ),
            (
                "asset order",
                lambda panel, made: made.with_fields(
                    {"ret_1": np.tile(np.arange(6, dtype=np.float32), (len(made.time), 1))}
                ),
            ),
            (
                "no look-ahead",
                lambda panel, made: made.with_fields(
                    {"ret_1": (panel.field("close") * len(panel.time)).astype(np.float32)}
                ),
            ),
            (
                "something to compare",
                lambda panel, made: made.with_fields(
                    {"ret_1": np.full(made.shape, np.nan, np.float32)}
                ),
            ),
        ],
    )
    def test_every_rule(self, rule, change):
        def bad(panel):
            return change(panel, features(panel))

        assert broken_rule(check_feature_set, bad, market(), **OPTIONS) == rule

    def test_a_leak_names_field_session_and_asset(self):
        def bad(panel):
            made = features(panel)
            ahead = np.roll(made.field("ret_1"), -1, axis=0)
            return made.with_fields({"ret_1": ahead})

        with pytest.raises(LeakFoundError, match=r"ret_1 at 2020-02-20 of T0@US#1"):
            check_feature_set(bad, market(), **OPTIONS)


def fit(x, y):
    return np.linalg.lstsq(x.astype(float), y, rcond=None)[0]


def predict(beta, x):
    return x.astype(float) @ beta


def contributions(beta, x):
    return np.column_stack([x.astype(float) * beta, np.zeros(len(x))])


def store(beta):
    stream = io.BytesIO()
    np.save(stream, beta)
    stream.seek(0)
    return np.load(stream)


class TestLearner:
    def test_a_good_learner_passes(self):
        check_learner(fit, predict, contributions=contributions, round_trip=store)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_verdict_does_not_depend_on_the_seed(self, seed):
        check_learner(fit, predict, seed=seed)

    def test_inputs_changed_behind_a_read_only_flag(self):
        def bad(x, y):
            base = y if y.base is None else y.base
            base.setflags(write=True)
            base[0] += 1.0
            return fit(x, y)

        assert broken_rule(check_learner, bad, predict) == "inputs unchanged"

    def test_inputs_changed_openly(self):
        def bad(x, y):
            y -= y.mean()
            return fit(x, y)

        with pytest.raises(ValueError, match="read-only"):
            check_learner(bad, predict)

    @pytest.mark.parametrize(
        "change",
        [
            lambda values: values[:, None],
            lambda values: values.astype(np.float32),
            lambda values: values[:-1],
            lambda values: np.where(values > 0, np.nan, values),
        ],
    )
    def test_shape(self, change):
        rule = broken_rule(check_learner, fit, lambda beta, x: change(predict(beta, x)))
        assert rule == "shape"

    @pytest.mark.parametrize(
        "bad",
        [
            lambda beta, x: np.zeros(len(x)),
            lambda beta, x: x[:, 5].astype(float),
            lambda beta, x: -predict(beta, x),
        ],
    )
    def test_learns(self, bad):
        assert broken_rule(check_learner, fit, bad) == "learns"

    def test_repeatable(self):
        rng = np.random.default_rng(0)
        rule = broken_rule(check_learner, lambda x, y: fit(x, y) + rng.normal(0, 1e-9, 8), predict)
        assert rule == "repeatable"

    def test_rows_alone(self):
        def bad(beta, x):
            values = predict(beta, x)
            return values - values.mean()

        assert broken_rule(check_learner, fit, bad) == "rows alone"

    @pytest.mark.parametrize(
        "bad",
        [
            lambda beta, x: contributions(beta, x)[:, :-1],
            lambda beta, x: contributions(beta, x) * 1.01,
            lambda beta, x: contributions(beta, x) * np.nan,
        ],
    )
    def test_additive(self, bad):
        assert broken_rule(check_learner, fit, predict, contributions=bad) == "additive"

    def test_round_trip(self):
        rule = broken_rule(check_learner, fit, predict, round_trip=lambda b: b.astype(np.float32))
        assert rule == "round trip"


@dataclass(frozen=True)
class Source:
    name: str = "prices/a.csv"
    sha256: str = "ab" * 32


@dataclass(frozen=True)
class Availability:
    ok: bool = True
    reason: str = ""


@dataclass
class Bars:
    frame: pd.DataFrame
    vendor: str = "example"
    price_basis: object = PriceBasis.SPLIT_ADJ
    sources: tuple = (Source(),)


def bars_frame(tickers=("A", "B")) -> pd.DataFrame:
    days = pd.to_datetime(["2020-01-02", "2020-01-03"])
    frame = pd.DataFrame(
        [
            {"asset_id": f"{ticker}@US#1", "ticker": ticker, "session": day, "volume": 1e6}
            for ticker in tickers
            for day in days
        ]
    )
    for offset, name in enumerate(("open", "high", "low", "close")):
        frame[name] = 10.0 + offset
    return frame


@dataclass
class Provider:
    name: str = "example"
    availability: Availability = field(default_factory=Availability)
    change: object = None
    bars_change: dict = field(default_factory=dict)

    def available(self):
        return self.availability

    def load(self, query):
        frame = bars_frame(query)
        if self.change is not None:
            frame = self.change(frame)
        return Bars(frame, **self.bars_change)


class TestProvider:
    def test_a_good_provider_passes(self):
        assert check_provider(Provider(), query=("A", "B"), narrow=("B",)) == 4

    def test_an_unavailable_provider_is_not_asked_to_load(self):
        provider = Provider(availability=Availability(False, "yfinance is not installed."))
        provider.load = None
        assert check_provider(provider, query=("A",)) == 0

    @pytest.mark.parametrize(
        "availability", [Availability(True, "but why"), Availability(False, "")]
    )
    def test_availability(self, availability):
        rule = broken_rule(check_provider, Provider(availability=availability), query=("A",))
        assert rule == "availability"

    def test_name(self):
        assert broken_rule(check_provider, Provider(name="My Provider"), query=("A",)) == "name"

    @pytest.mark.parametrize(
        ("rule", "change"),
        [
            ("columns", lambda frame: frame.drop(columns="volume")),
            ("identity", lambda frame: frame.assign(asset_id=frame["ticker"])),
            ("sessions", lambda frame: frame.assign(session=frame["session"].astype(str))),
            (
                "sessions",
                lambda frame: frame.assign(session=frame["session"].dt.tz_localize("UTC")),
            ),
            (
                "sessions",
                lambda frame: frame.assign(session=frame["session"] + pd.Timedelta(hours=16)),
            ),
            ("numbers", lambda frame: frame.assign(volume=frame["volume"].astype(int))),
            ("numbers", lambda frame: frame.assign(close=frame["close"].astype(str))),
        ],
    )
    def test_frames(self, rule, change):
        assert broken_rule(check_provider, Provider(change=change), query=("A",)) == rule

    @pytest.mark.parametrize(
        ("rule", "change"),
        [
            ("basis", {"price_basis": "split_adj_maybe"}),
            ("vendor", {"vendor": ""}),
            ("sources", {"sources": (Source(name="/data/a.csv"),)}),
            ("sources", {"sources": (Source(name="C:\\data\\a.csv"),)}),
            ("sources", {"sources": (Source(sha256="abc"),)}),
        ],
    )
    def test_origin(self, rule, change):
        assert broken_rule(check_provider, Provider(bars_change=change), query=("A",)) == rule

    def test_a_cache_that_hands_out_its_own_frame(self):
        cached = Bars(bars_frame())
        provider = Provider()
        provider.load = lambda query: cached
        assert broken_rule(check_provider, provider, query=("A",)) == "repeatable"

    @pytest.mark.parametrize("narrow", [(), ("A", "B"), ("C",)])
    def test_subset(self, narrow):
        rule = broken_rule(check_provider, Provider(), query=("A", "B"), narrow=narrow)
        assert rule == "subset"


def test_errors_keep_their_rule_across_processes():
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    with ours, theirs:
        ours.send(ConformanceError.broken("x", "learns", wanted="a", got="b", hint="c"))
        assert theirs.recv().rule == "learns"

"""Reference cases of event labels: barriers, filters, label weights, bet sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features.barrier_inputs import (
    barrier_events,
    price_paths,
)
from quant_engine.features.barriers import (
    BARRIERS,
    CLOSE_TO_CLOSE,
    BarrierConfig,
    BarrierLabels,
    barrier_labels,
)
from quant_engine.features.bet_size import (
    DynamicSize,
    average_active,
    bet_size,
    discretise_sizes,
)
from quant_engine.features.cusum import cusum_events
from quant_engine.features.event_weights import (
    SpanRows,
    average_uniqueness,
    concurrency,
    return_attribution,
    sequential_probabilities,
    span_rows,
    time_decay,
)
from quant_engine.features.fracdiff import (
    expanding_fracdiff,
    fixed_width_weights,
    fracdiff_weights,
    windowed_fracdiff,
)
from quant_engine.features.meta_labels import MetaMetrics, meta_label_metrics, meta_labels
from quant_engine.features.prices import total_returns
from quant_engine.features.volatility import ewm_volatility
from quant_engine.testing.reference.adapters import Adapter, Give
from quant_engine.testing.reference.inputs import Inputs, array

__all__ = ["ADAPTERS"]

TOPIC = "afml_labels_sampling"
_FIRST_DAY = np.datetime64("2000-01-03")


def _panel(inputs: Inputs) -> Panel:
    close = array(inputs["close"])[:, None]
    days = np.asarray(inputs.get("bar_days", range(len(close))), dtype=np.int64)
    return Panel(TimeAxis.sessions(_FIRST_DAY + days), ("A@US#1",), {"close": close})


def _labelled(inputs: Inputs) -> BarrierLabels:
    paths = price_paths(_panel(inputs))
    rows = inputs["events"]
    ends = inputs.get("vertical") or [None] * len(rows)
    events = barrier_events(
        paths,
        rows,
        [0] * len(rows),
        target_frac=inputs["target"],
        side=inputs.get("side"),
        last_rows=[-1 if end is None else end for end in ends],
    )
    levels = {
        "profit_multiple": inputs["pt"],
        "stop_multiple": inputs["sl"],
        "min_target_frac": inputs.get("min_ret", 0.0),
    }
    return barrier_labels(paths, events, BarrierConfig(**{**CLOSE_TO_CLOSE.content(), **levels}))


def _per_event(take: Callable[[BarrierLabels], Any]) -> Give:
    # In the order of the case; None where an event has no label.
    def give(inputs: Inputs) -> list[Any]:
        labels = _labelled(inputs)
        values = labels.in_given_order(np.asarray(take(labels), dtype=object))
        known = labels.in_given_order(labels.is_labelled)
        return [value if has else None for value, has in zip(values, known, strict=True)]

    return give


_EVENT_VALUES: Mapping[str, Give] = {
    "event": lambda inputs: list(inputs["events"]),
    "first_touch": _per_event(lambda labels: labels.exit_row.tolist()),
    "barrier": _per_event(lambda labels: [BARRIERS[int(code)] for code in labels.barrier]),
    "ret": _per_event(lambda labels: labels.ret_frac.tolist()),
    "label_barrier": _per_event(lambda labels: labels.label("barrier").tolist()),
    "label_sign": _per_event(lambda labels: labels.label("sign").tolist()),
    "label_meta": _per_event(lambda labels: labels.label("meta").tolist()),
}


def _event_table(inputs: Inputs) -> list[dict[str, Any]]:
    columns = {name: give(inputs) for name, give in _EVENT_VALUES.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _volatility(inputs: Inputs) -> Any:
    return ewm_volatility(total_returns(_panel(inputs)), span_bars=inputs["span"])[:, 0]


def _spans(inputs: Inputs) -> SpanRows:
    n_bars = inputs["n_bars"] if "n_bars" in inputs else max(inputs["t1"]) + 1
    return span_rows(inputs["t0"], inputs["t1"], n_bars=n_bars)


def _draw_chances(inputs: Inputs) -> dict[str, Any]:
    drawn = inputs["prev_draws"]
    return {str(before): sequential_probabilities(_spans(inputs), before) for before in drawn}


def _decayed(inputs: Inputs) -> dict[str, Any]:
    unique = average_uniqueness(_spans(inputs)).per_label
    return {str(last): time_decay(unique, last_weight=last) for last in inputs["decays"]}


def _fixed(inputs: Inputs) -> Any:
    limit = {"max_weights": inputs["limit"]} if "limit" in inputs else {}
    return fixed_width_weights(inputs["d"], min_abs_weight=inputs["thresh"], **limit)


def _demeaned(inputs: Inputs) -> Any:
    x = array(inputs["x"])
    return expanding_fracdiff(x - x.mean(), inputs["d"])


def _sizes(inputs: Inputs) -> Any:
    return bet_size(inputs["prob"], inputs["side"], n_classes=inputs.get("n_classes", 2))


def _active(place: int) -> Give:
    return lambda inputs: average_active(
        array(inputs["start"]), array(inputs["end"]), array(inputs["signal"])
    )[place]


def _dynamic(inputs: Inputs) -> DynamicSize:
    return DynamicSize.calibrated(
        divergence=inputs["cal_divergence"], size_frac=inputs["cal_bet_size"]
    )


def _target(inputs: Inputs) -> int:
    return _dynamic(inputs).target_position(
        inputs["forecast"], inputs["market_price"], max_position=inputs["max_pos"]
    )


def _limit(inputs: Inputs) -> float:
    return _dynamic(inputs).limit_price(
        inputs["forecast"],
        position=inputs["pos"],
        target=_target(inputs),
        max_position=inputs["max_pos"],
    )


def _meta(name: str) -> Give:
    def give(inputs: Inputs) -> Any:
        metrics: MetaMetrics = meta_label_metrics(
            inputs["side"], inputs["ret"], inputs["prob"], threshold=inputs["threshold"]
        )
        return getattr(metrics, name)

    return give


_SAMPLING: Mapping[str, Give] = {
    "concurrency": lambda inputs: concurrency(_spans(inputs)),
    "avg_uniqueness_per_label": lambda inputs: average_uniqueness(_spans(inputs)).per_label,
    "avg_uniqueness_pooled": lambda inputs: average_uniqueness(_spans(inputs)).pooled,
    "mean_of_label_uniqueness": lambda inputs: average_uniqueness(_spans(inputs)).mean,
    "seq_bootstrap_probs": _draw_chances,
    "return_attribution_weights": lambda inputs: return_attribution(
        array(inputs["close"]), _spans(inputs)
    ),
    "time_decay_weights": _decayed,
}
_FRACDIFF: Mapping[str, Give] = {
    "weights": lambda inputs: fracdiff_weights(inputs["d"], inputs["n_weights"]),
    "ffd_weights": _fixed,
    "n_weights": lambda inputs: len(_fixed(inputs)),
    "ffd": lambda inputs: windowed_fracdiff(array(inputs["x"]), _fixed(inputs)),
    "expanding_no_skip": lambda inputs: expanding_fracdiff(array(inputs["x"]), inputs["d"]),
    "expanding_demeaned": _demeaned,
}
_DYNAMIC: Mapping[str, Give] = {
    "w": lambda inputs: _dynamic(inputs).width,
    "bet_size": lambda inputs: _dynamic(inputs).size(inputs["forecast"], inputs["market_price"]),
    "target_pos": _target,
    "limit_price": _limit,
}

ADAPTERS: tuple[Adapter, ...] = (
    Adapter(
        TOPIC,
        "triple_barrier",
        frozenset({"close", "events", "target", "pt", "sl"}),
        {
            "events": _event_table,
            "labels_barrier": _EVENT_VALUES["label_barrier"],
            **{name: give for name, give in _EVENT_VALUES.items() if name != "event"},
        },
    ),
    Adapter(
        TOPIC,
        "cusum",
        frozenset({"close", "threshold"}),
        {
            "events": lambda inputs: np.flatnonzero(
                cusum_events(array(inputs["close"]), inputs["threshold"])
            )
        },
    ),
    Adapter(
        TOPIC,
        "trap_daily_vol",
        frozenset({"close", "span"}),
        {"ewm_std_one_bar_returns": _volatility},
    ),
    Adapter(TOPIC, "uniqueness", frozenset({"t0", "t1"}), _SAMPLING),
    Adapter(TOPIC, "fracdiff", frozenset({"d"}), _FRACDIFF),
    Adapter(
        TOPIC,
        "bet_size",
        frozenset({"prob", "side"}),
        {
            "signal": _sizes,
            "discrete": lambda inputs: discretise_sizes(_sizes(inputs), step_frac=inputs["step"]),
        },
    ),
    Adapter(
        TOPIC,
        "avg_active",
        frozenset({"start", "end", "signal"}),
        {"t": _active(0), "avg": _active(1)},
    ),
    Adapter(TOPIC, "dynamic_bet", frozenset({"cal_divergence", "cal_bet_size"}), _DYNAMIC),
    Adapter(
        TOPIC,
        "meta_label",
        frozenset({"side", "ret", "prob"}),
        {
            "meta_label": lambda inputs: meta_labels(inputs["side"], inputs["ret"]),
            **{
                name: _meta(name)
                for name in MetaMetrics.__dataclass_fields__
                if name not in ("n_bets", "n_taken")
            },
        },
    ),
)

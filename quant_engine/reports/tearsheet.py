"""The HTML tear sheet: one self-contained page per backtest.

The page is assembled in four steps: :func:`render_tearsheet` collects the panels by section, puts
the two Plotly templates and the palette swap into one data block, inlines plotly.js once, and
closes the page with a content security policy that forbids every request and every script but the
three whose hashes it lists.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources

from plotly.offline import get_plotlyjs

from quant_engine import __version__
from quant_engine.reports.markup import Markup, el
from quant_engine.reports.panels.activity import (
    cost_panels,
    exposure_panel,
    trade_extremes,
    trade_panels,
    turnover_panel,
)
from quant_engine.reports.panels.evidence import (
    contract_panel,
    coverage_panel,
    fold_panels,
    glossary_panel,
    lineage_panel,
    quality_panel,
)
from quant_engine.reports.panels.parts import json_block, section
from quant_engine.reports.panels.performance import (
    distribution_panel,
    drawdown_panel,
    equity_panel,
    monthly_panel,
    regime_panel,
    rolling_panel,
    year_panels,
)
from quant_engine.reports.panels.signal import (
    ic_date_panel,
    ic_horizon_panel,
    ic_year_panel,
    quantile_panels,
)
from quant_engine.reports.panels.summary import (
    callouts,
    key_figures,
    masthead,
    recorded_panel,
    sharpe_panel,
)
from quant_engine.reports.tearsheet_data import TearSheetData
from quant_engine.reports.theme import DARK, LIGHT, css_variables, palette_swap, template

__all__ = ["render_tearsheet"]

# Runs before the first paint, so that a dark page never flashes white.
_EARLY_SCRIPT = (
    "(function(){var q=new URLSearchParams(location.search).get('theme');"
    "var d=window.matchMedia('(prefers-color-scheme: dark)').matches;"
    "document.documentElement.dataset.theme="
    "(q==='dark'||q==='light')?q:(d?'dark':'light');})();"
)


def render_tearsheet(data: TearSheetData) -> str:
    """Write the tear sheet of one run as a single HTML file.

    Parameters
    ----------
    data : TearSheetData
        Everything that is shown. Nothing else is read: no file, no clock, no network.

    Returns
    -------
    str
        An HTML5 document; equal data give equal text. ``?theme=dark`` or ``?theme=light`` in its
        address fixes the theme, otherwise the reader's system decides.

    Examples
    --------
    A run that recorded nothing still gives a page, and every panel says why it is empty.

    >>> from datetime import date
    >>> from quant_engine.core.tracks import Track
    >>> from quant_engine.reports.tearsheet_data import DatasetFacts, RunFacts
    >>> data = TearSheetData(
    ...     title="Empty run",
    ...     track=Track.CALIBRATION,
    ...     dataset=DatasetFacts(
    ...         dataset_id="demo",
    ...         source="simulated",
    ...         first_session=date(2024, 1, 2),
    ...         last_session=date(2024, 1, 3),
    ...         n_assets=2,
    ...     ),
    ...     run=RunFacts(
    ...         run_id="r1",
    ...         model_version="v1",
    ...         config_id="c1",
    ...         code_digest="d1",
    ...         horizon_sessions=10,
    ...         as_of="2024-01-03",
    ...     ),
    ...     periods_per_year=252,
    ...     summary={},
    ... )
    >>> page = render_tearsheet(data)
    >>> page.startswith("<!doctype html>"), page.count('data-mode="absent"') > 20
    (True, True)
    """
    sections = _sections(data)
    scripts = (_EARLY_SCRIPT, get_plotlyjs(), _asset("tearsheet.js"))
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_security_policy(scripts)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="generator", content=f"quant_engine {__version__}"),
        el("title", f"{data.title} · tear sheet"),
        el("link", rel="icon", href="data:,"),
        el("style", Markup(_style_sheet())),
        el("script", Markup(scripts[0])),
    )
    body = el(
        "body",
        el("a", "Skip to the figures", class_="skip", href="#summary"),
        _top_bar(data, [(anchor, title) for anchor, title, _ in sections]),
        el(
            "main",
            masthead(data),
            callouts(data),
            *(
                section(anchor, title, *panels) if anchor != "summary" else panels[0]
                for anchor, title, panels in sections
            ),
            class_="page",
        ),
        el(
            "footer",
            f"quant_engine {__version__}. Self-contained: this file makes no network request.",
            class_="page foot",
        ),
        el("noscript", el("p", "Charts need JavaScript; every table and figure is readable.")),
        _theme_block(),
        el("script", Markup(scripts[1])),
        el("script", Markup(scripts[2])),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def _sections(data: TearSheetData) -> list[tuple[str, str, list[Markup]]]:
    year_bars, year_slices = year_panels(data)
    cost_curve, cost_years = cost_panels(data)
    statistics, trade_returns = trade_panels(data)
    best, worst = trade_extremes(data)
    quantile_bars, quantile_curves = quantile_panels(data)
    timeline, folds = fold_panels(data)
    summary = el(
        "section",
        el("h2", "Key figures", class_="hidden-text", id="s-summary"),
        key_figures(data),
        el("div", sharpe_panel(data), class_="grid"),
        id="summary",
        class_="block",
        aria_labelledby="s-summary",
    )
    return [
        ("summary", "Summary", [summary]),
        (
            "performance",
            "Performance",
            [equity_panel(data), monthly_panel(data), year_bars, year_slices],
        ),
        (
            "risk",
            "Risk",
            [
                rolling_panel(data),
                distribution_panel(data),
                drawdown_panel(data),
                regime_panel(data),
            ],
        ),
        (
            "positions",
            "Positions and costs",
            [exposure_panel(data), turnover_panel(data), cost_curve, cost_years],
        ),
        ("trades", "Trades", [statistics, trade_returns, best, worst]),
        (
            "signal",
            "Signal",
            [
                ic_date_panel(data),
                ic_horizon_panel(data),
                ic_year_panel(data),
                quantile_bars,
                quantile_curves,
            ],
        ),
        ("walk-forward", "Walk-forward", [timeline, contract_panel(data), folds]),
        (
            "data",
            "Data and lineage",
            [coverage_panel(data), quality_panel(data), lineage_panel(data), recorded_panel(data)],
        ),
        ("glossary", "Glossary", [glossary_panel()]),
    ]


def _top_bar(data: TearSheetData, anchors: list[tuple[str, str]]) -> Markup:
    links = [el("a", title, href=f"#{anchor}") for anchor, title in anchors]
    button = el(
        "button",
        el("span", "Dark", class_="to-dark"),
        el("span", "Light", class_="to-light"),
        type="button",
        id="theme-toggle",
        class_="toggle",
        aria_label="Switch between light and dark theme",
    )
    mark = el("span", "quant_engine", class_="brand")
    return el(
        "div",
        mark,
        el("nav", *links, aria_label="Sections"),
        button,
        class_="topbar",
    )


def _asset(name: str) -> str:
    return (resources.files("quant_engine.reports") / "assets" / name).read_text(encoding="utf-8")


def _style_sheet() -> str:
    light, dark = css_variables(LIGHT), css_variables(DARK)
    variables = (
        f":root{{color-scheme:light;{light}}}"
        "@media (prefers-color-scheme: dark){:root:not([data-theme=light])"
        f"{{color-scheme:dark;{dark}}}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}"
    )
    return f"{variables}\n{_asset('tearsheet.css')}"


def _theme_block() -> Markup:
    templates = {
        palette.name: json.loads(json.dumps(template(palette.name).to_plotly_json()))
        for palette in (LIGHT, DARK)
    }
    content = {"templates": templates, "swap": palette_swap(LIGHT, DARK)}
    return json_block(content, id="tearsheet-themes")


def _security_policy(scripts: tuple[str, ...]) -> str:
    hashes = " ".join(
        "'sha256-" + base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() + "'"
        for one in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )

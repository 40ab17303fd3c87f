"""Building blocks of panels: value, table, chart slot, sparkline, panel.

Contract: every figure that is shown as text is written by :func:`value` or :func:`table`, which
put the exact value beside the rounded one (``data-metric``, ``data-value``). A panel is either
``filled`` or ``absent``, says so in ``data-mode``, and an absent one shows its reason.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quant_engine.core.arrays import FloatVector
from quant_engine.reports.decimate import even_positions
from quant_engine.reports.formats import COUNT, NumberFormat, exact_text, is_absent, value_text
from quant_engine.reports.glossary import METRICS
from quant_engine.reports.markup import Markup, el, join
from quant_engine.reports.tearsheet_data import TearSheetData

__all__ = [
    "Column",
    "absent_panel",
    "chart",
    "figure_spec",
    "json_block",
    "metric_value",
    "panel",
    "section",
    "sentences",
    "sparkline",
    "table",
    "term",
    "value",
]

_SPARK_POINTS = 90
_SPARK_SIZE = (120, 30)


@dataclass(frozen=True)
class Column:
    """One column of a :func:`table`.

    Parameters
    ----------
    key : str
        Column of the frame.
    label : str
        Heading.
    number_format : NumberFormat or None
        None for text, dates and yes/no, which are left-aligned.
    is_left : bool or None
        Overrides the alignment; None = text left, numbers right.
    is_prose : bool
        Whether the cells hold sentences, which may break into lines.
    """

    key: str
    label: str
    number_format: NumberFormat | None = None
    is_left: bool | None = None
    is_prose: bool = False

    @property
    def css_class(self) -> str:
        """``num`` for right-aligned columns, ``txt`` for left-aligned ones, ``prose``."""
        if self.is_prose:
            return "txt prose"
        is_left = self.number_format is None if self.is_left is None else self.is_left
        return "txt" if is_left else "num"


def value(
    name: str,
    content: object,
    number_format: NumberFormat | None = None,
    *,
    tag: str = "span",
    class_: str = "",
    text: str | None = None,
) -> Markup:
    """One figure as text, with its exact value beside it.

    Parameters
    ----------
    name : str
        Dotted name, for example ``summary.sharpe_session`` or ``folds.3.rank_ic``.
    content : object
        Number, date, bool or text; None and NaN are shown as ``n/a``.
    number_format : NumberFormat or None
        Unit and rounding; a signed format also colours by sign.
    tag, class_ : str
        Element and extra CSS classes.
    text : str or None
        Other text than the formatted value (a shortened digest).

    Returns
    -------
    Markup
        Element with ``data-metric`` and ``data-value``.

    Examples
    --------
    >>> from quant_engine.reports.formats import SIGNED_PERCENT
    >>> value("summary.annual_return", 0.0712, SIGNED_PERCENT)
    '<span class="up" data-metric="summary.annual_return" data-value="0.0712">+7.1%</span>'
    """
    classes = [class_, _sign_class(content, number_format)]
    scope = "row" if tag == "th" else None
    return el(
        tag,
        value_text(content, number_format) if text is None else text,
        class_=" ".join(one for one in classes if one) or None,
        scope=scope,
        data_metric=name,
        data_value=exact_text(content),
    )


def _sign_class(content: object, number_format: NumberFormat | None) -> str:
    if is_absent(content):
        return "absent"
    if number_format is None or not number_format.is_signed:
        return ""
    text = number_format.text(float(content))
    return {"+": "up", "−": "down"}.get(text[0], "")


def metric_value(
    data: TearSheetData,
    name: str,
    *,
    number_format: NumberFormat | None = None,
    tag: str = "span",
    class_: str = "",
) -> Markup:
    """One metric of the summary, in the unit of the glossary.

    Parameters
    ----------
    data : TearSheetData
        Its ``summary`` is read.
    name : str
        Metric name.
    number_format : NumberFormat or None
        Overrides the glossary's.
    tag, class_ : str
        As in :func:`value`.

    Returns
    -------
    Markup
        The value, or ``n/a``.
    """
    content = data.summary.get(name)
    if number_format is None and name in METRICS:
        number_format = METRICS[name].number_format
    elif number_format is None and isinstance(content, int) and not isinstance(content, bool):
        number_format = COUNT
    return value(f"summary.{name}", content, number_format, tag=tag, class_=class_)


def term(name: str, label: str | None = None) -> Markup:
    """A metric's label, linked to its line in the glossary.

    Parameters
    ----------
    name : str
        Name in ``METRICS``.
    label : str or None
        Other text than the glossary's label.

    Returns
    -------
    Markup
        A link, or plain text for a metric that has no definition.
    """
    if name not in METRICS:
        return el("span", label or name.removeprefix("n_").replace("_", " ").capitalize())
    return el("a", label or METRICS[name].label, class_="term", href=f"#g-{name}")


def table(
    name: str,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    *,
    caption: str,
    row_key: str | None = None,
    drawn: tuple[str, Sequence[Markup]] | None = None,
) -> Markup:
    """A table whose first column is the row heading.

    Parameters
    ----------
    name : str
        Prefix of ``data-metric``: ``<name>.<row>.<column>``.
    frame : DataFrame
        One row per line.
    columns : sequence of Column
        Which columns, in order; those that the frame lacks are left out.
    caption : str
        What the table holds; read aloud, not shown.
    row_key : str or None
        Column that names the row in ``data-metric``; None = position.
    drawn : (str, sequence of Markup) or None
        Heading and cells of a last column that holds drawings, one per row.

    Returns
    -------
    Markup
        A table inside a box that scrolls sideways on small screens.
    """
    shown = [column for column in columns if column.key in frame]
    heads = [el("th", column.label, scope="col", class_=column.css_class) for column in shown]
    if drawn is not None:
        heads.append(el("th", drawn[0], scope="col", class_="txt"))
    # Column by column: a row of mixed types would turn whole numbers into floats.
    contents = {column.key: frame[column.key].tolist() for column in shown}
    keys = range(len(frame)) if row_key is None else frame[row_key].tolist()
    lines = []
    for position, key in enumerate(keys):
        cells = [
            value(
                f"{name}.{exact_text(key)}.{column.key}",
                contents[column.key][position],
                column.number_format,
                tag="th" if number == 0 else "td",
                class_=column.css_class,
            )
            for number, column in enumerate(shown)
        ]
        if drawn is not None:
            cells.append(el("td", drawn[1][position], class_="drawn"))
        lines.append(el("tr", *cells))
    body = el(
        "table",
        el("caption", caption, class_="hidden-text"),
        el("thead", el("tr", *heads)),
        el("tbody", *lines),
        style=f"--rows:{len(lines) + 1}",
    )
    return el("div", body, class_="scroll", tabindex="0", role="region", aria_label=caption)


def figure_spec(figure: go.Figure) -> dict[str, object]:
    """Data and layout of a figure without its template, which the page holds once.

    Parameters
    ----------
    figure : Figure
        Built with the light palette.

    Returns
    -------
    dict
        JSON-ready ``data`` and ``layout``.
    """
    spec = json.loads(figure.to_json(engine="json"))
    spec["layout"].pop("template", None)
    return {"data": spec["data"], "layout": spec["layout"]}


def json_block(content: object, **attributes: object) -> Markup:
    r"""JSON inside the page, as a data block that is never executed.

    Parameters
    ----------
    content : object
        JSON-ready value without NaN.
    **attributes : object
        Attributes of the script element.

    Returns
    -------
    Markup
        ``<``, ``>`` and ``&`` are written as JSON escapes, so no text can end the block.

    Examples
    --------
    >>> json_block("</script>", id="x")
    '<script type="application/json" id="x">"\\u003c/script\\u003e"</script>'
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return el("script", Markup(text), type="application/json", **attributes)


def chart(figure_id: str, figure: go.Figure, *, label: str, min_width_px: int = 0) -> Markup:
    """Room for one interactive figure and its data.

    Parameters
    ----------
    figure_id : str
        Unique in the page.
    figure : Figure
        Built with the light palette; the client recolours it.
    label : str
        What the figure shows, for readers who do not see it.
    min_width_px : int
        Below this width the chart scrolls sideways inside its panel.

    Returns
    -------
    Markup
        The slot; its height grows with the panel beside it.
    """
    height = int(figure.layout.height)
    slot = el(
        "div",
        el("div", class_="plot", id=f"fig-{figure_id}"),
        class_="chart",
        data_figure=figure_id,
        role="img",
        aria_label=label,
        style=f"min-height:{height}px;min-width:{min_width_px}px",
    )
    block = json_block(figure_spec(figure), data_figure_spec=figure_id)
    if min_width_px:
        slot = el("div", slot, class_="scroll grow", tabindex="0", role="region", aria_label=label)
    return join([slot, block])


def sparkline(values: FloatVector, *, class_: str = "") -> Markup:
    """A curve without axes, as decoration of a figure shown as text.

    Parameters
    ----------
    values : ndarray (T,)
        Any unit; NaN is left out.
    class_ : str
        CSS class that gives the colour.

    Returns
    -------
    Markup
        Inline SVG, hidden from readers of text; empty with fewer than 2 values.

    Examples
    --------
    >>> "M0,28" in sparkline(np.array([0.0, 1.0]))
    True
    """
    finite = values[np.isfinite(values)]
    if finite.size < 2:
        return el("span", class_="spark")
    chosen = finite[even_positions(finite.size, _SPARK_POINTS)]
    width, height = _SPARK_SIZE
    low, span = float(chosen.min()), float(np.ptp(chosen)) or 1.0
    x = np.linspace(0, width, chosen.size)
    y = (height - 2) - (chosen - low) / span * (height - 4)
    points = " ".join(f"{a:.4g},{b:.4g}" for a, b in zip(x, y, strict=True))
    path = el("path", d=f"M{points}", vector_effect="non-scaling-stroke")
    return el(
        "svg",
        path,
        class_=f"spark {class_}".strip(),
        viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def sentences(name: str, items: Sequence[str], *, class_: str = "plain") -> Markup:
    """A list of sentences that came with the run.

    Parameters
    ----------
    name : str
        Prefix of ``data-metric``: ``<name>.<position>``.
    items : sequence of str
        Shown word by word.
    class_ : str
        CSS class of the list.

    Returns
    -------
    Markup
        An unordered list.
    """
    return el(
        "ul",
        *(value(f"{name}.{position}", item, tag="li") for position, item in enumerate(items)),
        class_=class_,
    )


def panel(
    panel_id: str,
    title: str,
    *body: object,
    span: int = 6,
    note: object | None = None,
    tools: Markup | None = None,
) -> Markup:
    """A filled panel.

    Parameters
    ----------
    panel_id : str
        Unique in the page.
    title : str
        Heading as text.
    *body : object
        Content.
    span : int
        Width in twelfths of the page.
    note : object or None
        What is shown and how it was made, in one or two sentences.
    tools : Markup or None
        Controls beside the heading.

    Returns
    -------
    Markup
        Section with ``data-mode="filled"``.
    """
    head = el(
        "header",
        el("h3", title, id=f"h-{panel_id}"),
        tools,
        class_="panel-head",
    )
    foot = None if note is None else el("p", note, class_="note")
    return _frame(panel_id, span, "filled", [head, *body, foot])


def absent_panel(panel_id: str, title: str, reason: str, *, span: int = 6) -> Markup:
    """A panel without content, which says why.

    Parameters
    ----------
    panel_id, title : str
        As in :func:`panel`.
    reason : str
        One sentence.
    span : int
        Width in twelfths of the page.

    Returns
    -------
    Markup
        Section with ``data-mode="absent"``.
    """
    head = el("header", el("h3", title, id=f"h-{panel_id}"), class_="panel-head")
    body = el(
        "p",
        el("span", "Not available", class_="chip"),
        " ",
        el("span", reason, data_reason=panel_id),
        class_="empty",
    )
    return _frame(panel_id, span, "absent", [head, body])


def _frame(panel_id: str, span: int, mode: str, children: Sequence[object]) -> Markup:
    return el(
        "section",
        *children,
        class_=f"panel span-{span}",
        id=f"p-{panel_id}",
        data_panel=panel_id,
        data_mode=mode,
        aria_labelledby=f"h-{panel_id}",
    )


def section(section_id: str, title: str, *panels: Markup) -> Markup:
    """A titled group of panels.

    Parameters
    ----------
    section_id : str
        Anchor of the navigation.
    title : str
        Heading.
    *panels : Markup
        Panels.

    Returns
    -------
    Markup
        Section with a grid.
    """
    return el(
        "section",
        el("h2", title, id=f"s-{section_id}"),
        el("div", *panels, class_="grid"),
        id=section_id,
        class_="block",
        aria_labelledby=f"s-{section_id}",
    )

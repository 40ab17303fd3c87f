"""The shell of a self-contained page: head, bar, sections, themes, scripts, security policy.

A page puts the two Plotly templates and the palette swap into one data block, inlines plotly.js
once, and carries a content security policy that forbids every request and every script but the
three whose hashes it lists.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources

from plotly.offline import get_plotlyjs

from quant_engine import __version__
from quant_engine.reports.markup import Markup, el
from quant_engine.reports.panels.parts import json_block
from quant_engine.reports.theme import DARK, LIGHT, css_variables, palette_swap, template

__all__ = ["render_page"]

# Runs before the first paint, so that a dark page never flashes white.
_EARLY_SCRIPT = (
    "(function(){var q=new URLSearchParams(location.search).get('theme');"
    "var d=window.matchMedia('(prefers-color-scheme: dark)').matches;"
    "document.documentElement.dataset.theme="
    "(q==='dark'||q==='light')?q:(d?'dark':'light');})();"
)


def render_page(title: str, anchors: Sequence[tuple[str, str]], content: Sequence[object]) -> str:
    """Write one page as a single HTML file.

    Parameters
    ----------
    title : str
        Title of the window.
    anchors : sequence of (str, str)
        Identity and title of the sections, in the order of the bar; the first is where a reader
        who skips the bar arrives.
    content : sequence of object
        Header and sections, inside the main element.

    Returns
    -------
    str
        An HTML5 document; equal content gives equal text. ``?theme=dark`` or ``?theme=light`` in
        its address fixes the theme, otherwise the reader's system decides.

    Examples
    --------
    >>> page = render_page("Empty", [("top", "Top")], [el("p", "Nothing.", id="top")])
    >>> page.startswith("<!doctype html>"), 'id="top">Nothing.' in page
    (True, True)
    """
    scripts = (_EARLY_SCRIPT, get_plotlyjs(), _asset("tearsheet.js"))
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_security_policy(scripts)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="generator", content=f"quant_engine {__version__}"),
        el("title", title),
        el("link", rel="icon", href="data:,"),
        el("style", Markup(_style_sheet())),
        el("script", Markup(scripts[0])),
    )
    body = el(
        "body",
        el("a", "Skip to the figures", class_="skip", href=f"#{anchors[0][0]}"),
        _top_bar(anchors),
        el("main", *content, class_="page"),
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


def _top_bar(anchors: Sequence[tuple[str, str]]) -> Markup:
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

"""The tear sheet in a real browser: silent, offline, rethemed, and nothing cut at 390 pixels."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quant_engine.reports import render_tearsheet

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FAKE_RUN = Path(__file__).parents[1] / "reports" / "fake_run.py"

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs the package playwright (extra test)"
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs a browser at {CHROMIUM}"),
]


class Visit:
    """One open page and everything it complained about or asked for."""

    def __init__(self, browser: Any, file: Path, *, width: int, query: str = "", **options: Any):
        self.complaints: list[str] = []
        self.requests: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = context.new_page()
        self.page.on("console", lambda one: self.complaints.append(f"{one.type}: {one.text}"))
        self.page.on("pageerror", lambda one: self.complaints.append(str(one)))
        self.page.on("request", lambda one: self.requests.append(one.url))
        self.page.goto(f"file://{file}{query}")
        self.page.wait_for_selector("html[data-ready=true]", timeout=60_000)

    def theme(self) -> str:
        return self.page.evaluate("document.documentElement.dataset.theme")

    def figure(self, name: str, expression: str) -> Any:
        return self.page.evaluate(
            f"(() => {{ const g = document.getElementById('fig-{name}'); return {expression}; }})()"
        )


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    spec = importlib.util.spec_from_file_location("browser_fake_run", FAKE_RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("tearsheet") / "tearsheet.html"
    path.write_text(render_tearsheet(module.fake_run(700)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, file):
    opened: list[Visit] = []

    def open_page(width: int = 1440, **options: Any) -> Visit:
        opened.append(Visit(browser, file, width=width, **options))
        return opened[-1]

    yield open_page
    for one in opened:
        # Whatever a test did, the page stayed silent and asked nobody for anything.
        assert one.complaints == []
        outside = [url for url in one.requests if not url.startswith(("data:", "blob:"))]
        assert len(outside) == 1
        assert outside[0].startswith("file://")
        one.page.context.close()


def test_every_figure_is_drawn_and_not_blank(visit) -> None:
    page = visit().page
    slots = page.evaluate(
        """[...document.querySelectorAll('[data-figure]')].map(s => ({
            name: s.dataset.figure,
            width: s.querySelector('.main-svg')?.getBoundingClientRect().width ?? 0,
            marks: s.querySelectorAll('.trace path, .point path, .heatmaplayer image').length,
            room: s.getBoundingClientRect().width,
        }))"""
    )
    assert len(slots) >= 15
    for slot in slots:
        assert slot["marks"] > 0, slot
        assert 0 < slot["width"] <= slot["room"] + 0.5, slot


def test_toggle_rethemes_every_figure_on_the_client_and_back(visit) -> None:
    opened = visit(query="?theme=light")
    look = {
        "line": ("equity", "g._fullData.find(t => t.name === 'Net').line.color"),
        "text": ("equity", "g._fullLayout.font.color"),
        "shade": ("equity", "g._fullLayout.shapes[0].fillcolor"),
        "scale": ("monthly", "JSON.stringify(g._fullData[0].colorscale)"),
        "bars": ("quantiles", "JSON.stringify(g._fullData[0].marker.color)"),
        "mark": ("distribution", "g._fullLayout.annotations[0].font.color"),
        "drawn": ("turnover", "getComputedStyle(g.querySelector('.js-line')).stroke"),
        "page": ("equity", "getComputedStyle(document.body).backgroundColor"),
    }

    def looks() -> dict[str, Any]:
        return {name: opened.figure(*place) for name, place in look.items()}

    light = looks()
    opened.page.click("#theme-toggle")
    opened.page.wait_for_timeout(600)
    dark = looks()
    assert opened.theme() == "dark"
    assert all(light[name] != dark[name] for name in look), (light, dark)
    opened.page.click("#theme-toggle")
    opened.page.wait_for_timeout(600)
    assert looks() == light


def test_system_preference_decides_unless_the_address_does(visit) -> None:
    assert visit(color_scheme="dark").theme() == "dark"
    assert visit(color_scheme="light").theme() == "light"
    assert visit(color_scheme="light", query="?theme=dark").theme() == "dark"
    following = visit(color_scheme="light")
    following.page.emulate_media(color_scheme="dark")
    following.page.wait_for_timeout(600)
    assert following.theme() == "dark"
    assert following.figure("equity", "g._fullLayout.font.color") == "#e6eaf1"


def test_zoom_and_axis_choice_survive_the_theme(visit) -> None:
    opened = visit(query="?theme=light")
    assert opened.figure("equity", "g._fullLayout.yaxis.type") == "log"
    opened.page.click('[data-setting="linear"]')
    opened.page.wait_for_timeout(300)
    assert opened.figure("equity", "g._fullLayout.yaxis.type") == "linear"
    pressed = opened.page.get_attribute('[data-setting="linear"]', "aria-pressed")
    assert pressed == "true"
    opened.page.click("#theme-toggle")
    opened.page.wait_for_timeout(600)
    assert opened.figure("equity", "g._fullLayout.yaxis.type") == "linear"


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_nothing_overflows_sideways(visit, width) -> None:
    page = visit(width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = page.evaluate(
        """[...document.querySelectorAll('.panel, .kpi, .callout, .masthead, h1, .note')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5
                      || e.getBoundingClientRect().left < -0.5)
            .map(e => e.id || e.className)"""
    )
    assert too_wide == []


@pytest.mark.parametrize("width", [390, 1440])
def test_no_label_of_a_figure_is_cut_off(visit, width) -> None:
    page = visit(width=width).page
    cut = page.evaluate(
        """[...document.querySelectorAll('[data-figure]')].flatMap(slot => {
            const room = slot.getBoundingClientRect();
            return [...slot.querySelectorAll('.main-svg text')]
                .filter(t => t.textContent.trim() && !t.closest('.hoverlayer'))
                .map(t => [t, t.getBoundingClientRect()])
                .filter(([t, b]) => b.width && (b.left < room.left - 1 || b.right > room.right + 1
                    || b.top < room.top - 1 || b.bottom > room.bottom + 1))
                .map(([t, b]) => slot.dataset.figure + ': ' + t.textContent);
        })"""
    )
    assert cut == []
    assert page.locator("[data-figure] .main-svg text").count() > 150


@pytest.mark.parametrize("width", [390, 1440])
def test_axis_labels_do_not_overlap(visit, width) -> None:
    page = visit(width=width).page
    overlaps = page.evaluate(
        """[...document.querySelectorAll('[data-figure]')].flatMap(slot => {
            const found = [];
            for (const axis of slot.querySelectorAll('.xaxislayer-above, .yaxislayer-above')) {
                const boxes = [...axis.querySelectorAll('text')]
                    .filter(t => t.textContent.trim() && !t.closest('.g-xtitle, .g-ytitle'))
                    .map(t => [t.textContent, t.getBoundingClientRect()]);
                for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
                    const [a, b] = [boxes[i][1], boxes[j][1]];
                    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                    const tall = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                    if (wide > 1 && tall > 4) {
                        found.push(slot.dataset.figure + ': ' + boxes[i][0] + ' / ' + boxes[j][0]);
                    }
                }
            }
            return found;
        })"""
    )
    assert overlaps == []


def test_printing_is_light_and_comes_back(visit) -> None:
    opened = visit(query="?theme=dark")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    opened.page.wait_for_timeout(900)
    assert opened.theme() == "light"
    assert opened.figure("equity", "g.getBoundingClientRect().width") <= 1040
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    opened.page.wait_for_timeout(900)
    assert opened.theme() == "dark"
    assert opened.figure("equity", "g._fullLayout.font.color") == "#e6eaf1"


def test_injected_script_would_not_run(visit) -> None:
    opened = visit()
    opened.page.evaluate(
        """() => {
            const one = document.createElement('script');
            one.textContent = 'window.injected = true';
            document.body.append(one);
        }"""
    )
    assert opened.page.evaluate("window.injected") is None
    refused = [text for text in opened.complaints if "Content Security Policy" in text]
    assert refused
    opened.complaints.clear()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_keyboard_reaches_the_controls(visit, theme) -> None:
    page = visit(query=f"?theme={theme}").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#theme-toggle")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") != theme

"""One invented run, its page, and the page's text with its exact values."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
from plotly.offline import get_plotlyjs

from quant_engine.reports import TearSheetData, render_tearsheet


def load_fake_run() -> ModuleType:
    """Import the builder by path: test folders are not packages."""
    path = Path(__file__).with_name("fake_run.py")
    spec = importlib.util.spec_from_file_location("reports_fake_run", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Element:
    """What the parser remembers of one element."""

    tag: str
    attributes: dict[str, str]
    path: tuple[str, ...]
    text: str = ""

    def get(self, name: str) -> str:
        return self.attributes.get(name) or ""


@dataclass
class Page(HTMLParser):
    """Elements of a page in document order, and text nodes that carry no exact value."""

    elements: list[Element] = field(default_factory=list)
    bare_text: list[str] = field(default_factory=list)
    open_elements: list[Element] = field(default_factory=list)

    VOID = frozenset({"br", "meta", "link", "path", "img", "input"})

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        path = tuple(one.tag for one in self.open_elements)
        element = Element(tag, {name: text or "" for name, text in attrs}, path)
        self.elements.append(element)
        if tag not in self.VOID:
            self.open_elements.append(element)

    def handle_endtag(self, tag: str) -> None:
        closed = self.open_elements.pop()
        assert closed.tag == tag, f"<{closed.tag}> closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        for element in self.open_elements:
            element.text += data
        is_code = any(one.tag in ("script", "style", "title") for one in self.open_elements)
        has_value = any("data-metric" in one.attributes for one in self.open_elements)
        if data.strip() and not is_code and not has_value:
            self.bare_text.append(data.strip())

    def all(self, tag: str | None = None, *, having: str | None = None) -> list[Element]:
        return [
            one
            for one in self.elements
            if (tag is None or one.tag == tag) and (having is None or having in one.attributes)
        ]

    @property
    def panels(self) -> dict[str, str]:
        return {one.get("data-panel"): one.get("data-mode") for one in self.all(having="data-mode")}


def read_page(html: str) -> Page:
    """Parse a tear sheet without its five megabytes of plotly.js."""
    page = Page()
    page.feed(html.replace(get_plotlyjs(), ""))
    page.close()
    assert not page.open_elements
    return page


@pytest.fixture(scope="session")
def fake_run_module() -> ModuleType:
    return load_fake_run()


@pytest.fixture(scope="session")
def run_data(fake_run_module: ModuleType) -> TearSheetData:
    return fake_run_module.fake_run(700)


@pytest.fixture(scope="session")
def html(run_data: TearSheetData) -> str:
    return render_tearsheet(run_data)


@pytest.fixture(scope="session")
def page(html: str) -> Page:
    return read_page(html)


@pytest.fixture(scope="session")
def parse():
    return read_page

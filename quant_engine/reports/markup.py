"""HTML as values: every text is escaped because nothing else can be written.

:func:`el` builds one element from a tag, attributes and children. A child that is not already
:class:`Markup` is escaped, and so is every attribute value.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

__all__ = ["EMPTY", "Markup", "el", "join"]

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "path", "line", "circle"})


class Markup(str):
    """HTML that is safe to write as it is.

    Examples
    --------
    >>> el("b", Markup("<i>x</i>"))
    '<b><i>x</i></b>'
    """

    __slots__ = ()


EMPTY = Markup("")
"""No markup at all."""


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """One HTML element.

    Parameters
    ----------
    tag : str
        Element name.
    *children : object
        :class:`Markup` is written as it is, anything else as escaped text; None is skipped.
    **attributes : object
        ``data_metric="x"`` becomes ``data-metric="x"``; a trailing underscore is dropped
        (``class_``); None and False leave the attribute out, True writes it without a value.

    Returns
    -------
    Markup
        The element.

    Examples
    --------
    >>> el("td", "<1>", class_="num", hidden=True, title=None)
    '<td class="num" hidden>&lt;1&gt;</td>'
    """
    opening = tag + "".join(
        f" {_attribute_name(name)}" + ("" if value is True else f'="{escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Markup(f"<{opening}>")
    return Markup(f"<{opening}>{join(children)}</{tag}>")


def join(children: Iterable[object], separator: str = "") -> Markup:
    """Children one after the other.

    Parameters
    ----------
    children : iterable of object
        As in :func:`el`.
    separator : str
        Text between them, escaped.

    Returns
    -------
    Markup
        The concatenation.

    Examples
    --------
    >>> join(["a & b", el("br")])
    'a &amp; b<br>'
    """
    return Markup(
        escape(separator).join(
            child if isinstance(child, Markup) else escape(str(child))
            for child in children
            if child is not None
        )
    )


def _attribute_name(name: str) -> str:
    return name.rstrip("_").replace("_", "-")

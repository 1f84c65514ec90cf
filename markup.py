"""A project's description as safe HTML: reStructuredText, Markdown or plain text.

It runs in a process of its own (see rendering.py), because no library here has a limit: a README of
some kilobytes can make docutils or the HTML parser work for minutes.
"""

from __future__ import annotations

import io
import json
import re
import resource
import sys
from collections.abc import Callable
from email.message import Message
from html import escape, unescape

import nh3

RULES = 2  # raise it with every change of what this module makes of a description
CPU = 2  # seconds; most need less than a tenth
MEMORY = 2**30  # bytes
LARGEST = 4 * 2**20  # characters of HTML
LONGEST_FAULT = 500  # characters
PREFIX = "user-content-"  # of all ids, so that none is one of the page's own
SCHEMES = {"http", "https", "mailto", "data"}
LINK = re.compile(r"(https?://|mailto:)[^\s]+", re.IGNORECASE)
IMAGE = re.compile(r"data:image/(png|gif|jpeg|webp|svg\+xml)[;,]", re.IGNORECASE)
CLASSES = {  # for which there are styles; the names of our own would dress it as the page itself
    *("admonition", "admonition-title", "markdown-alert", "markdown-alert-title"),
}
TAGS = {
    *("a", "abbr", "acronym", "aside", "b", "blockquote", "br", "caption", "cite", "code", "col"),
    *("colgroup", "dd", "del", "details", "div", "dl", "dt", "em", "figcaption", "figure", "h1"),
    *("h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "input", "ins", "kbd", "li", "mark", "nav"),
    *("ol", "p", "pre", "q", "s", "samp", "section", "small", "span", "strong", "sub", "summary"),
    *("sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "tt", "u", "ul", "var"),
}
ALIGNED = ("div", "h1", "h2", "h3", "h4", "h5", "h6", "p", "table")
ATTRIBUTES = {
    "*": {"id", "class"},
    **{tag: {"align"} for tag in ALIGNED},
    "a": {"href", "title"},
    "abbr": {"title"},
    "acronym": {"title"},
    "img": {"src", "alt", "width", "height"},
    "input": {"type", "checked"},
    "li": {"value"},
    "ol": {"start"},
    "td": {"align", "colspan", "rowspan"},
    "th": {"align", "colspan", "rowspan"},
}
# What nh3 writes is well formed: every value is in quotes, and "<" in a text is "&lt;".
VALUES = r"""(?: [a-z]+="[^"]*")*"""
TAG = re.compile(rf"<(/?)([a-z][a-z0-9]*)({VALUES})>")  # each, so that no value is taken for one
HEADING = re.compile("h[1-6]")
EMPTY_LINK = re.compile(rf"<a({VALUES})></a>")
VALUE = re.compile(r""" ([a-z]+)="([^"]*)\"""")
REPORT = re.compile(r"<string>:(\d*):? \([A-Z]+/\d\) ")


class Unreadable(Exception):
    """The description breaks a rule of its markup; the message is for the maintainers."""


def html_of(text: str, content_type: str, images: bool) -> tuple[str, str | None]:
    """The text as safe HTML, and why it is shown as plain text, if it is.

    :param content_type: as in the core metadata, with charset and variant; "" means reST.
    :param images: whether images of other hosts are shown, or links to them.
    """
    kind, variant = parsed_type(content_type)
    renderer = {"text/x-rst": from_rst, "text/markdown": from_markdown}.get(kind)
    if renderer is None:
        known = kind == "text/plain"
        return plain(text), None if known else f"Its content type {kind[:100]!r} is not known."
    try:
        html = Finish(images)(clean(renderer(text, variant)))
        if len(html) > LARGEST:
            raise Unreadable("It becomes too large.")
    except Unreadable as error:
        untyped = "" if content_type.strip() else " (it has no content type, which means reST)"
        return plain(text), f"{error}{untyped}"
    except (RecursionError, MemoryError):
        return plain(text), "It is nested too deeply."
    return html, None


def parsed_type(content_type: str) -> tuple[str, str]:
    """Media type and variant of Markdown; the defaults are those of the core metadata."""
    message = Message()
    message["Content-Type"] = content_type.strip() or "text/x-rst"
    variant = message.get_param("variant", "GFM")
    is_common = isinstance(variant, str) and variant.strip().lower() == "commonmark"
    # get_content_type would make text/plain of what it does not understand.
    kind = str(message["Content-Type"]).partition(";")[0].strip().lower()
    return kind, "CommonMark" if is_common else "GFM"


def plain(text: str) -> str:
    """The text as it is."""
    return f'<pre class="plain">{escape(text, quote=False)}</pre>'


def from_markdown(text: str, variant: str) -> str:
    """HTML of Markdown, not yet safe."""
    from readme_renderer.markdown import variants

    return variants[variant](text)


def from_rst(text: str, _: str) -> str:
    """HTML of reStructuredText, not yet safe; nothing is read from files or the network.

    :raises Unreadable: with what docutils says.
    """
    from docutils.core import publish_parts
    from docutils.parsers.rst.directives import misc
    from docutils.utils import SystemMessage
    from docutils.writers.html5_polyglot import Writer
    from readme_renderer import rst

    class Translator(rst.ReadMeHTMLTranslator):
        def visit_image(self, node) -> None:
            """Embeds no image: docutils would read any file here, whatever the settings say."""
            node.attributes.pop("loading", None)
            super().visit_image(node)

    misc.Include.option_spec = {}  # "parser" would import any module, before all is refused
    reports = io.StringIO()
    settings = {
        **rst.SETTINGS,  # raw and include are off there
        "_disable_config": True,
        "section_self_link": False,
        "syntax_highlight": "none",
        "toc_backlinks": False,
        "warning_stream": reports,
    }
    writer = Writer()
    writer.translator_class = Translator
    try:
        parts = publish_parts(text, writer=writer, settings_overrides=settings)
    except SystemMessage:
        raise Unreadable(told(reports.getvalue())) from None
    except (RecursionError, MemoryError):
        raise
    except Exception as error:  # docutils has bugs, too
        raise Unreadable(f"docutils fails with {type(error).__name__}.") from None
    return parts.get("docinfo", "") + parts.get("fragment", "")


def told(reports: str) -> str:
    """What docutils reported, for people."""
    lines = [" ".join(line.split()) for line in REPORT.sub(r"Line \1: ", reports).splitlines()]
    return " ".join(filter(None, lines)).replace("Line : ", "")[:LONGEST_FAULT]


def clean(html: str) -> str:
    """The HTML without all that could run, load, or look like a part of the page."""
    return nh3.clean(
        html,
        tags=TAGS,
        clean_content_tags={"script", "style", "title"},
        attributes=ATTRIBUTES,
        attribute_filter=kept,
        link_rel="nofollow noopener",
        url_schemes=SCHEMES,
    )


def kept(tag: str, attribute: str, value: str) -> str | None:
    """What becomes of an attribute that may stand there; None drops it."""
    if attribute == "id":
        return prefixed(value)
    if attribute == "class":
        return " ".join(each for each in value.split() if each in CLASSES) or None
    if attribute == "href":
        if value.startswith("#"):
            return f"#{prefixed(value[1:])}"
        return value if LINK.match(value) else None  # a path here is none of ours
    return value


def prefixed(name: str) -> str:
    """The id as it is called on our pages."""
    return name if name.startswith(PREFIX) else PREFIX + name


class Finish:
    """Fits safe HTML into a page: below its heading, without images, usable by keyboard."""

    def __init__(self, images: bool) -> None:
        self.images = images
        self.in_link = False  # links do not lie in each other
        self.levels: list[int] = []  # the headings above, as the description has them
        self.open: list[int] = []  # headings that are not yet closed, as the page has them

    def __call__(self, html: str) -> str:
        return TAG.sub(self._tag, EMPTY_LINK.sub(anchor, html))

    def _tag(self, match: re.Match) -> str:
        slash, tag, values = match.groups()
        if HEADING.fullmatch(tag):
            return self._heading(slash, int(tag[1]), values)
        way = self.ways.get(tag)
        return way(self, slash, tag, values) if way else match[0]

    def _heading(self, slash: str, level: int, values: str) -> str:
        """The page has its one h1; no level is left out below it."""
        if slash:
            return f"</h{self.open.pop()}>"
        while self.levels and self.levels[-1] >= level:
            self.levels.pop()
        self.levels.append(level)
        self.open.append(min(1 + len(self.levels), 6))
        return f"<h{self.open[-1]}{values}>"

    def _link(self, slash: str, tag: str, values: str) -> str:
        """What leads nowhere is no link."""
        name = "a" if self.in_link or " href=" in values else "span"
        self.in_link = not slash and name == "a"
        return f"<{slash}{name}>" if name == "span" else f"<{slash}a{values}>"

    def _block(self, slash: str, tag: str, values: str) -> str:
        """A landmark would be one of the whole page."""
        return f"<{slash}div{values}>"

    def _pre(self, slash: str, tag: str, values: str) -> str:
        return "</pre>" if slash else f'<pre{values} tabindex="0">'

    def _table(self, slash: str, tag: str, values: str) -> str:
        return "</table></div>" if slash else f'<div class="scroll" tabindex="0"><table{values}>'

    def _input(self, slash: str, tag: str, values: str) -> str:
        """A task's box is a sign: nobody can tick it here."""
        found = dict(VALUE.findall(values))
        if found.get("type") != "checkbox":
            return ""
        return "\N{BALLOT BOX WITH CHECK}" if "checked" in found else "\N{BALLOT BOX}"

    def _image(self, slash: str, tag: str, values: str) -> str:
        """An image that is part of the text; of others their text, and the way to them."""
        found = dict(VALUE.findall(values))
        source, text = unescape(found.get("src", "")), found.get("alt", "").strip()
        outside = source.lower().startswith(("http://", "https://"))
        if IMAGE.match(source) or (outside and self.images):
            alt = "" if "alt" in found else ' alt=""'
            return f'<img{values}{alt} loading="lazy" referrerpolicy="no-referrer">'
        if self.in_link or not outside:
            return text or ("image" if self.in_link else "")
        label = f"{text} (image)" if text else "image"
        return f'<a href="{found["src"]}" rel="nofollow noopener">{label}</a>'

    ways: dict[str, Callable] = {  # noqa: RUF012
        "a": _link,
        "aside": _block,
        "nav": _block,
        "section": _block,
        "pre": _pre,
        "table": _table,
        "input": _input,
        "img": _image,
    }


def anchor(match: re.Match) -> str:
    """The place that a link without a text marks; a reader could not tell where it leads."""
    name = dict(VALUE.findall(match[1])).get("id")
    return f'<span id="{name}"></span>' if name else ""


def answer(job: dict) -> None:
    """Does what :func:`html_of` does, within limits, and writes the result as JSON."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    json.dump(html_of(**job), sys.stdout)

"""Pages: one shell, one sheet of styles, and the parts that all pages are made of.

A page is one file: no scripts, nothing from a network, pictures inside. It prints on A4.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from CardioDiTLib.reporting.colours import INK, LINE, SOFT, WARNING_COLOUR, WARNING_PAPER

NOT_FOR_DIAGNOSIS = "For research only. Not a medical device, not for diagnosis or treatment."

STYLE = f"""
:root {{ color-scheme: light; --ink: {INK}; --soft: {SOFT}; --line: {LINE}; --tint: #F6F8FA; --accent: #0072B2;
  --amber: {WARNING_COLOUR}; --amber-paper: {WARNING_PAPER}; }}
* {{ box-sizing: border-box; }}
body {{ font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans",
  sans-serif; color: var(--ink); background: #fff; max-width: 1040px; margin: 0 auto; padding: 28px 24px 48px; }}
header {{ border-bottom: 3px solid var(--ink); padding-bottom: 12px; margin-bottom: 18px; }}
header .kind {{ font-size: 12px; letter-spacing: .08em; text-transform: uppercase; color: var(--soft); margin: 0; }}
h1 {{ font-size: 26px; line-height: 1.25; margin: 2px 0 4px; overflow-wrap: anywhere; }}
header .under {{ margin: 0; color: var(--soft); }}
h2 {{ font-size: 18px; margin: 34px 0 10px; border-bottom: 1px solid var(--line); padding-bottom: 5px; }}
h3 {{ font-size: 15px; margin: 20px 0 6px; }}
p {{ margin: 6px 0; }}
.banner {{ background: var(--amber-paper); border-left: 5px solid var(--amber); padding: 9px 14px; font-weight: 600;
  margin: 0 0 16px; }}
.verdict {{ background: var(--tint); border-left: 5px solid var(--accent); padding: 12px 16px; font-weight: 600;
  margin: 16px 0; }}
.verdict.warn {{ background: var(--amber-paper); border-color: var(--amber); }}
.verdict.bad {{ background: #FDF0E6; border-color: #B8480A; }}
.verdict p {{ font-weight: 400; margin: 4px 0 0; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px; margin: 0 0 8px; }}
.card {{ background: var(--tint); border: 1px solid var(--line); border-radius: 6px; padding: 9px 12px; }}
.card .name {{ font-size: 12.5px; color: var(--soft); display: block; }}
.card .value {{ font-size: 23px; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.2; }}
.card .unit {{ font-size: 13px; color: var(--soft); font-weight: 400; }}
.card .more {{ font-size: 12px; color: var(--soft); display: block; }}
.pair {{ display: grid; grid-template-columns: 1fr 1fr; gap: 12px 32px; align-items: start; }}
table {{ border-collapse: collapse; width: 100%; font-size: 14px; }}
caption {{ text-align: left; font-weight: 600; padding: 4px 0; }}
th, td {{ text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid #EAEEF2; vertical-align: top;
  font-weight: 400; }}
thead th {{ color: var(--soft); font-size: 12.5px; border-bottom: 1px solid #AFB8C1; vertical-align: bottom; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap;
  padding-right: 20px; }}
td.unit {{ color: var(--soft); white-space: nowrap; }}
table.fit {{ width: auto; }}
table.wide {{ font-size: 13px; }}
table.wide tbody th {{ min-width: 150px; }}
table.wide td:nth-child(2), table.wide td:nth-child(3) {{ min-width: 96px; }}
table.wide svg {{ display: block; margin: 2px 0; }}
table.facts th {{ color: var(--soft); white-space: nowrap; padding-right: 20px; width: 1%; }}
table.facts td {{ overflow-wrap: anywhere; }}
tr.mark td, tr.mark th {{ background: #FDF0E6; }}
.tag {{ display: inline-block; border-radius: 10px; padding: 0 9px; font-size: 12.5px; line-height: 1.6;
  white-space: nowrap; }}
.tag.good {{ background: #E6F4EE; color: #00563F; }}
.tag.warn {{ background: #FCEBDD; color: #8A3B00; }}
.tag.none {{ background: #EFF1F3; color: var(--soft); }}
.reason, figcaption, .note {{ color: var(--soft); font-size: 13px; }}
td.reason {{ max-width: 34ch; }}
ul {{ margin: 6px 0; padding-left: 20px; }}
li {{ margin: 3px 0; }}
figure {{ margin: 8px 0 0; }}
figure img, figure svg {{ max-width: 100%; height: auto; display: block; }}
figcaption {{ margin-top: 5px; }}
.films img {{ width: 100%; background: #000; }}
.pairs {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 18px; }}
.pairs figure {{ border: 1px solid var(--line); border-radius: 6px; padding: 10px; margin: 0; }}
.pairs .two {{ display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 6px; }}
.pairs .two img {{ width: 100%; background: #000; }}
.pairs .two span {{ font-size: 12px; color: var(--soft); overflow-wrap: anywhere; display: block; }}
.sign {{ -webkit-text-stroke: 0.4px #333; }}
.key {{ white-space: nowrap; margin-right: 16px; }}
code {{ font-size: 12px; }}
svg text {{ font-family: inherit; }}
.scroll {{ overflow-x: auto; }}
footer {{ margin-top: 36px; border-top: 1px solid var(--line); padding-top: 8px; color: var(--soft);
  font-size: 12.5px; }}
@media (max-width: 720px) {{ .pair {{ grid-template-columns: 1fr; }} }}
@page {{ size: A4; margin: 14mm 13mm; }}
@media print {{
  body {{ max-width: none; padding: 0; font-size: 10.5pt; -webkit-print-color-adjust: exact;
    print-color-adjust: exact; }}
  table {{ font-size: 9.5pt; }}
  h2, h3, caption {{ break-after: avoid; }}
  figure, tr, .card, .banner, .verdict {{ break-inside: avoid; }}
  thead {{ display: table-header-group; }}
  .scroll {{ overflow: visible; }}
}}
"""


def page(
    title: str,
    parts: Iterable[str],
    *,
    kind: str,
    under: str = "",
    synthetic: bool = False,
    version: str = "",
) -> str:
    """A whole page.

    Args:
        title: Heading; also that of the window.
        parts: Sections in order; empty ones are left out.
        kind: What sort of page this is, above the heading.
        under: A line below the heading.
        synthetic: Whether the banner about synthetic hearts stands on top.
        version: Of this software, for the foot.
    """
    banner = (
        '<div class="banner" id="synthetic">Synthetic / research only: '
        "this heart was made by software and is nobody's. No number here is about a patient.</div>"
    )
    line = f'<p class="under">{escape(under)}</p>' if under else ""
    head = [
        banner if synthetic else "",
        f'<header><p class="kind">{escape(kind)}</p><h1>{escape(title)}</h1>{line}</header>',
    ]
    made_by = f"CardioDiT {version}" if version else "CardioDiT"
    foot = f"<footer>{NOT_FOR_DIAGNOSIS} Made by {escape(made_by)}.</footer>"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in (*head, *parts, foot) if part)
        + "\n</body>\n</html>\n"
    )


def section(name: str, heading: str, content: str) -> str:
    """A part of a page under a heading; nothing where there is no content."""
    return f'<section id="{name}">\n<h2>{escape(heading)}</h2>\n{content}\n</section>' if content else ""


def cards(entries: Sequence[tuple[str, str, str, str]]) -> str:
    """Numbers to see first: name, value, unit, a line below."""
    made = []
    for name, value, unit, more in entries:
        after = f' <span class="unit">{escape(unit)}</span>' if unit else ""
        below = f'<span class="more">{escape(more)}</span>' if more else ""
        made.append(
            f'<div class="card"><span class="name">{escape(name)}</span>'
            f'<span class="value">{escape(value)}{after}</span>{below}</div>'
        )
    return f'<div class="cards">{"".join(made)}</div>'


def facts(entries: Mapping[str, str] | Sequence[tuple[str, str]], style: str = "facts") -> str:
    """Names and texts as a table of two columns."""
    pairs = entries.items() if isinstance(entries, Mapping) else entries
    rows = "".join(f"<tr><th scope='row'>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in pairs)
    return f'<table class="{style}"><tbody>{rows}</tbody></table>'


def table(header: Sequence[str], rows: Sequence[str], *, numbers: Sequence[int] = (), style: str = "") -> str:
    """A table of rows that are HTML already.

    Args:
        header: Names of the columns, plain text.
        rows: Each ``<tr>...</tr>``.
        numbers: Columns whose names stand on the right, as numbers do.
        style: Class of the table.
    """
    number = " class='number'"
    head = "".join(f"<th{number if i in numbers else ''}>{escape(name)}</th>" for i, name in enumerate(header))
    kind = f' class="{style}"' if style else ""
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def tag(text: str, kind: str) -> str:
    """A word with a quiet colour behind it: "good", "warn" or "none"."""
    return f'<span class="tag {kind}">{escape(text)}</span>'


def bullets(lines: Iterable[str], style: str = "") -> str:
    """Sentences as a list; nothing where there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    kind = f' class="{style}"' if style else ""
    return f"<ul{kind}>{items}</ul>" if items else ""


def picture(data: bytes, kind: str, alternative: str) -> str:
    """A picture inside the page."""
    encoded = base64.b64encode(data).decode("ascii")
    return f'<img src="data:image/{kind};base64,{encoded}" alt="{escape(alternative, quote=True)}">'


def figure(content: str, caption: str = "", style: str = "") -> str:
    """A picture or chart with a caption that is HTML already."""
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="{style}">{content}{below}</figure>' if style else f"<figure>{content}{below}</figure>"


def key(entries: Iterable[tuple[str, str]], sign: str = "■") -> str:
    """What the colours of a figure mean."""
    return "".join(
        f'<span class="key"><span class="sign" style="color:{colour}">{sign}</span> {escape(name)}</span>'
        for name, colour in entries
    )

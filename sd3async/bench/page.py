"""A session as one HTML file that needs nothing else: tables, warnings, pictures."""

import base64
import io
from html import escape

from matplotlib.figure import Figure

from sd3async.bench import plots
from sd3async.bench.report import Report, conclusions, tables, title_lines
from sd3async.bench.samples import Session

_CAPTIONS = {
    "load": "What more load brings, and what it costs in waiting. Past the knee the upper curve "
    "is flat and the lower one climbs. Shades span the repeats.",
    "parts": "Blue is the service at work; orange is this client's own rate limit; yellow is its "
    "connection pool.",
    "percentiles": "Read across: this share of requests was faster. The distance between solid "
    "and dashed is waiting on this side.",
    "rate": "What the server saw. Below: the count that decides about a 429; it must not pass the "
    "red line.",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 76rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.facts { color: #6b7280; margin: 0 } .scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: pre-line }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #e5e7eb;
         vertical-align: top }
th:first-child, td:first-child { text-align: left; white-space: nowrap }
figure { margin: 1.5rem 0 } figure img { max-width: 100%; height: auto }
figcaption, code { color: #6b7280 }
.warnings li { margin: .3rem 0 } .warnings b { color: #b45309 }
"""


def render_page(report: Report, session: Session) -> str:
    """Return the page.

    Args:
        report: The numbers.
        session: The samples, for the pictures.
    """
    header = report.header
    facts = "".join(f'<p class="facts">{escape(line)}</p>' for line in title_lines(header))
    said = "".join(f"<p>{escape(words)}</p>" for words in conclusions(report))
    figures = "".join(
        _figure(name, figure) for name, figure in plots.draw_all(report, session).items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>sd3async bench, {escape(header.created)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>Concurrency benchmark</h1>{facts}{said}{_warnings(report)}"
        f"{figures}{_tables(report)}{_errors(report)}"
        f"<h2>Command</h2><code>{escape(header.command)}</code></body></html>\n"
    )


def _warnings(report: Report) -> str:
    items = "".join(
        f"<li><b>{escape(name)}</b>: {escape(words)}</li>" for name, words in report.warnings()
    )
    return f'<h2>Read this first</h2><ul class="warnings">{items}</ul>' if items else ""


def _tables(report: Report) -> str:
    pieces: list[str] = []
    for title, heads, rows in tables(report):
        head = "".join(f"<th>{escape(text)}</th>" for text in heads)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows
        )
        pieces.append(
            f'<h2>{escape(title)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )
    return "".join(pieces)


def _errors(report: Report) -> str:
    rows = "".join(
        f"<tr><td>{escape(item.scenario.name)}</td><td>{escape(error)}</td><td>{count}</td></tr>"
        for item in report.scenarios
        for error, count in item.errors.items()
    )
    return f"<h2>Failures by kind</h2><table><tbody>{rows}</tbody></table>" if rows else ""


def _figure(name: str, figure: Figure) -> str:
    """Return a picture as an image of its own: inlined SVGs would share their ids."""
    drawn = io.BytesIO()
    plots.save(figure, drawn, form="svg")
    data = base64.b64encode(drawn.getvalue()).decode()
    caption = escape(_CAPTIONS[name])
    return (
        f'<figure><img alt="{caption}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )

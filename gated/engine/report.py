"""A report in one HTML file: text, figures and sound are inside, so it can be mailed."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gated.engine.files import atomic_path

_MEDIA = {".png": "image/png", ".svg": "image/svg+xml", ".wav": "audio/wav", ".flac": "audio/flac"}

_STYLE = """
:root{color-scheme:light dark;--line:#8883;--soft:#888}
body{font:16px/1.55 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:1.2rem;font-size:1.25rem}
table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.3rem .9rem .3rem 0;text-align:left;border-bottom:1px solid var(--line)}
td.n{font-variant-numeric:tabular-nums;text-align:right}
figure{margin:1.2rem 0}img{max-width:100%;background:#fff;border-radius:6px}
figcaption,.soft{color:var(--soft);font-size:.9rem}audio{width:100%;max-width:30rem;display:block}
"""


@dataclass
class Section:
    """One part of a report.

    Attributes:
        title: heading.
        text: paragraphs, separated by blank lines.
        metrics: name -> number or words; the table of the section and of the command line.
        figures: pairs of a picture's path and its caption.
        audio: pairs of a sound file's path and its caption.
    """

    title: str
    text: str = ""
    metrics: dict[str, float | str] = field(default_factory=dict)
    figures: list[tuple[Path, str]] = field(default_factory=list)
    audio: list[tuple[Path, str]] = field(default_factory=list)


def format_metric(value: float | str) -> str:
    """Return a number with four significant digits, words as they are."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value}"


def write_report(path: str | Path, title: str, sections: Sequence[Section]) -> Path:
    """Write the sections as one self-contained HTML file and return its path."""
    body = "".join(_section(s) for s in sections)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>{html.escape(title)}</h1>{body}</body></html>\n"
    )
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(p)}</p>" for p in section.text.split("\n\n") if p.strip()]
    if section.metrics:
        rows = "".join(
            f'<tr><td>{html.escape(name)}</td><td class="n">{html.escape(format_metric(value))}</td></tr>'
            for name, value in section.metrics.items()
        )
        parts.append(f"<table>{rows}</table>")
    for picture, caption in section.figures:
        text = html.escape(caption)
        parts.append(f'<figure><img src="{_inline(picture)}" alt="{text}"><figcaption>{text}</figcaption></figure>')
    for sound, caption in section.audio:
        text = html.escape(caption)
        parts.append(f'<figure><figcaption>{text}</figcaption><audio controls src="{_inline(sound)}"></audio></figure>')
    return "".join(parts)


def _inline(path: Path) -> str:
    kind = _MEDIA[Path(path).suffix]
    return f"data:{kind};base64,{base64.b64encode(Path(path).read_bytes()).decode('ascii')}"

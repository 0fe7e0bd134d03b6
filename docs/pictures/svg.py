"""A screen of `tmux capture-pane -e` as SVG: svg.py COLUMNS <screen >picture.svg"""

import html
import re
import sys

COLORS = {31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 36: "#79c0ff"}
WIDTH, HEIGHT, MARGIN = 8.4, 18, 14


def spans(line, style):
    """Parts of a line, each with its style; the style at the end stays for the next line."""
    parts = []
    for code, text in re.findall(r"\x1b\[([\d;]*)m|([^\x1b]+)", line):
        if text:
            parts.append((dict(style), text))
            continue
        for number in [int(n or 0) for n in code.split(";")]:
            if number == 0:
                style.clear()
            elif number == 1:
                style["bold"] = True
            elif number == 2:
                style["dim"] = True
            elif number == 22:
                style.pop("bold", None)
                style.pop("dim", None)
            elif number == 39:
                style.pop("color", None)
            elif number in COLORS:
                style["color"] = COLORS[number]
    return parts


def main():
    columns = int(sys.argv[1])
    lines = sys.stdin.read().rstrip("\n").split("\n")
    while lines and lines[-1].strip() in ("", "$"):
        lines.pop()
    width, height = columns * WIDTH + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}">')
    print(f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/>')
    print('<g font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" fill="#e6edf3">')
    style = {}
    for row, line in enumerate(lines):
        at = 0
        for look, text in spans(line, style):
            extra = f' fill="{look["color"]}"' if "color" in look else ""
            extra += ' font-weight="bold"' if "bold" in look else ""
            extra += ' opacity="0.65"' if "dim" in look else ""
            x, y = MARGIN + at * WIDTH, MARGIN + row * HEIGHT + 13
            if text.strip():
                print(
                    f'<text x="{x:.1f}" y="{y}" textLength="{len(text) * WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
                    f' xml:space="preserve"{extra}>{html.escape(text)}</text>'
                )
            at += len(text)
    print("</g>\n</svg>")


main()

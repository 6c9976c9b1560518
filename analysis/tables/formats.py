"""Tables as Markdown, LaTeX and plain text (HTML is the page template's)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from prefine_ray.analysis.best import SAFE, UNCERTAIN, UNSAFE
from prefine_ray.analysis.tables.cells import CHOSEN, NOTHING, STAR, Cell, Column, Row, Table

MARKDOWN_LEGEND = (
    "**Bold**: safe (the upper 95 % limit of the mean normalised cost is at most 1). *Italic*: unsafe (the lower limit"
    f" is above 1). Plain: uncertain. {STAR}: the highest reward among the safe of a task at a threshold. {CHOSEN}: the"
    " best weight by the rule under the headline table."
)
LATEX_HEADER = r"""% Needs \usepackage{booktabs,graphicx,xcolor}.
% Bold: safe (the upper 95 % limit of the mean normalised cost is at most 1). Grey: unsafe (the lower limit is above
% 1). Plain: uncertain. A star: the highest reward among the safe of a task at a threshold. A dagger: the best weight by
% the rule in the headline's caption.
"""
_LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    STAR: r"$\star$",
    CHOSEN: r"$\dagger$",
    NOTHING: "--",
}


def to_markdown(table: Table) -> str:
    """A heading, a pipe table with aligned columns and the caption."""
    return f"## {table.title}\n\n{pipe_table(table)}\n{table.caption}\n"


def pipe_table(table: Table) -> str:
    """The table alone in Markdown, with aligned columns; a group of columns prefixes their names."""
    head = [f"{column.group}: {column.name}" if column.group else column.name for column in table.columns]
    body = [[_markdown_cell(cell) for cell in _shown(row)] for row in table.rows]
    widths = [max(3, *(len(line[i]) for line in [head, *body])) for i in range(len(head))]
    rule = ["-" * (width - 1) + "-:"[column.numeric] for column, width in zip(table.columns, widths, strict=True)]
    lines = [" | ".join(_pad(line, table.columns, widths)) for line in [head, rule, *body]]
    return "".join(f"| {line} |\n" for line in lines)


def to_latex(table: Table) -> str:
    """A floating table at text width, booktabs style: safe in bold, unsafe in grey, uncertain in neither."""
    spec = "".join("r" if column.numeric else "l" for column in table.columns)
    lines = [*_latex_head(table.columns)]
    for position, row in enumerate(table.rows):
        if position == 0 or (table.grouped and row.first):
            lines.append(r"\midrule")
        lines.append(" & ".join(_latex_cell(cell) for cell in _shown(row)) + r" \\")
    body = "\n".join(lines)
    return (
        f"\\begin{{table*}}[p]\n\\centering\n\\caption{{{_latex(table.title)}. {_latex(table.caption)}}}\n"
        f"\\setlength{{\\tabcolsep}}{{3pt}}\n\\resizebox{{\\textwidth}}{{!}}{{%\n\\begin{{tabular}}{{{spec}}}\n\\toprule\n{body}\n"
        "\\bottomrule\n\\end{tabular}}\n\\end{table*}\n"
    )


def to_text(table: Table) -> str:
    """Fixed-width text in ASCII for the terminal, without intervals; "!" marks unsafe, "?" uncertain."""
    head = [column.name for column in table.columns]
    body = [[_text_cell(cell) for cell in _shown(row)] for row in table.rows]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [_text_groups(table.columns, widths)]
    lines += [_text_line(line, table.columns, widths) for line in [head, *body]]
    lines.insert(2, "-" * max(map(len, lines)))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def header_groups(columns: Iterable[Column]) -> list[tuple[str, list[Column]]]:
    """Neighbouring columns of the same group, in order; a column without a group stands alone."""
    groups: list[tuple[str, list[Column]]] = []
    for column in columns:
        if column.group and groups and groups[-1][0] == column.group:
            groups[-1][1].append(column)
        else:
            groups.append((column.group, [column]))
    return groups


def _shown(row: Row) -> tuple[Cell, ...]:
    """The row's cells, the first one left empty where it would repeat that of the row above."""
    return row.cells if row.first else (Cell(""), *row.cells[1:])


def _pad(line: list[str], columns: Iterable[Column], widths: list[int]) -> Iterator[str]:
    for text, column, width in zip(line, columns, widths, strict=True):
        yield text.rjust(width) if column.numeric else text.ljust(width)


def _markdown_cell(cell: Cell) -> str:
    mark = {SAFE: "**", UNSAFE: "*"}.get(cell.style, "")
    return f"{mark}{cell.text}{mark} {cell.interval}".rstrip()


def _text_cell(cell: Cell) -> str:
    return cell.text.replace(NOTHING, "-") + {UNSAFE: "!", UNCERTAIN: "?"}.get(cell.style, "")


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"-(?=\d)", "$-$", escaped)


def _latex_cell(cell: Cell) -> str:
    text, interval = _latex(cell.text), _latex(cell.interval)
    text = f"\\textbf{{{text}}}" if cell.style == SAFE else text
    whole = f"{text} {{\\scriptsize {interval}}}" if interval else text
    return f"\\textcolor{{gray}}{{{whole}}}" if cell.style == UNSAFE else whole


def _latex_head(columns: tuple[Column, ...]) -> Iterator[str]:
    groups = header_groups(columns)
    if any(name for name, _ in groups):
        yield " & ".join(f"\\multicolumn{{{len(m)}}}{{c}}{{{_latex(name)}}}" for name, m in groups) + r" \\"
        start = 1
        for name, members in groups:
            if name:
                yield f"\\cmidrule(lr){{{start}-{start + len(members) - 1}}}"
            start += len(members)
    yield " & ".join(_latex_name(column) for column in columns) + r" \\"


def _latex_name(column: Column) -> str:
    """One word to a line, so that columns of numbers stay narrow."""
    side = "r" if column.numeric else "l"
    return rf"\shortstack[{side}]{{" + _latex(column.name).replace(" ", r"\\") + "}"


def _text_groups(columns: tuple[Column, ...], widths: list[int]) -> str:
    """The line above the header: each group's name over its columns."""
    parts, start = [], 0
    for name, members in header_groups(columns):
        width = sum(widths[start : start + len(members)]) + len(members) - 1
        parts.append(name[:width].center(width, "-" if name else " "))
        start += len(members)
    return "  ".join(parts)


def _text_line(line: list[str], columns: tuple[Column, ...], widths: list[int]) -> str:
    padded = iter(_pad(line, columns, widths))
    return "  ".join(" ".join(next(padded) for _ in members) for _, members in header_groups(columns))

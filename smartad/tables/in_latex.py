"""Tables in LaTeX, with booktabs: they need ``\\usepackage{booktabs}`` and nothing else."""

import re
from collections.abc import Sequence

from smartad.records import visible
from smartad.tables.data import Table
from smartad.tables.grid import Box, grid
from smartad.tables.words import below, caption

MARKS = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
SPECIAL = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
           "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
           "|": r"\textbar{}", "±": r"$\pm$", "–": "--",
           # At the beginning of a row they would be an argument of the \\ before it.
           "[": "{[}", "]": "{]}", "*": "{*}"}


def latex(table: Table) -> str:
    """A booktabs table with the groups over the columns, and a rule between blocks."""
    found = grid(table)
    top = []
    if found.groups:
        over = [rf"\multicolumn{{{span}}}{{c}}{{{_escape(title)}}}" if title else " & ".join([""] * span)
                for title, span in found.groups]
        rules, at = [], len(found.heads) + 1
        for title, span in found.groups:
            rules += [rf"\cmidrule(lr){{{at}-{at + span - 1}}}"] if title else []
            at += span
        top = [" & ".join([*[""] * len(found.heads), *over]) + r" \\", " ".join(rules)]
    lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{'l' * len(found.heads)}{'r' * len(found.columns)}}}",
             r"\toprule", *top, _row([*map(_escape, found.heads), *map(_escape, found.columns)])]
    for block in found.blocks:
        lines += [r"\midrule", *(_row([*map(_escape, line.heads), *map(_box, line.boxes)]) for line in block)]
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{_escape(caption(table))}}}",
              *(rf"\par\footnotesize {_escape(note)}" for note in below(table)), r"\end{table}", ""]
    return "\n".join(lines)


def plain_latex(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """Any table of texts: the first column names the row, the others are numbers."""
    top, *lines = [_row(list(map(_escape, line))) for line in (header, *rows)]
    return "\n".join([r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule", top,
                      r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", rf"\caption{{{_escape(caption)}}}",
                      r"\end{table}", ""])


def _row(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"


def _box(box: Box) -> str:
    first, *more = map(_escape, box.lines)
    mark = rf"\textsuperscript{{{_escape(box.mark)}}}" if box.mark else ""
    lines = [MARKS[box.rank] % first + mark, *(rf"\scriptsize {one}" for one in more)]
    stacked = r" \\ ".join(lines)
    return rf"\shortstack[r]{{{stacked}}}" if more else stacked


def _escape(text: str) -> str:
    """As it is read: of one line, no character a command, and no dash made of two hyphens."""
    return "".join(SPECIAL.get(c, c) for c in re.sub("-(?=-)", "-\0", visible(" ".join(text.split())))).replace("\0", "{}")

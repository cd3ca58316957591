"""A table of scores in LaTeX: booktabs, everything foreign escaped, pdflatex's own fonts only."""

from __future__ import annotations

from cegppo_verl.reporting import text
from cegppo_verl.reporting.scores.model import Line, Score, ScoreTable

NEEDS = r"\usepackage[T1]{fontenc}\usepackage{booktabs}\usepackage{graphicx}"
_GREEK = {"α": "alpha", "β": "beta", "δ": "delta", "ε": "epsilon", "θ": "theta", "λ": "lambda", "π": "pi"}
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "[": "{[}",  # after \\ a bracket would be its argument
    "]": "{]}",
    "*": "{*}",
    "-": "{-}",  # no ligatures: -- is two minus signs here
    "\n": " ",
    "\t": " ",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{c: f"$\\{name}$" for c, name in _GREEK.items()},
    **{c: f"$_{n}$" for n, c in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    "−": "$-$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "→": r"$\to$",
    "Δ": r"$\Delta$",
    "–": "--",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
}


def escape(foreign: object) -> str:
    """Text that LaTeX prints as it is; a character its fonts lack becomes its code point in brackets."""
    return "".join(map(_character, text.visible(foreign)))


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isascii() or "À" <= character <= "ſ":  # T1 has Latin letters up to U+017F
        return character
    return f"{{[}}U+{ord(character):04X}{{]}}"


def latex(table: ScoreTable) -> bytes:
    r"""A ``table`` environment to ``\input``; the first line names the packages it needs."""
    count = len(table.columns) + 2
    body = [rf"\toprule{chr(10)}{_row([table.stub, 'Seeds', *table.columns])}"]
    for group, lines in table.groups():
        body.append(r"\midrule")
        body += [rf"\multicolumn{{{count}}}{{l}}{{\textit{{{escape(group)}}}}} \\"] if group else []
        body += [_line(table, line) for line in lines]
    parts = [
        f"% needs {NEEDS}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escape(table.title)}.}}",
        rf"\resizebox{{\textwidth}}{{!}}{{%{chr(10)}\begin{{tabular}}{{l{'r' * (count - 1)}}}",
        *body,
        rf"\bottomrule{chr(10)}\end{{tabular}}}}",
        *(rf"\par\smallskip\noindent{{\footnotesize {escape(note)}\par}}" for note in table.notes),
        r"\end{table}",
    ]
    return ("\n".join(parts) + "\n").encode()


def _row(fields: list[str]) -> str:
    return " & ".join(map(escape, fields)) + r" \\"


def _line(table: ScoreTable, line: Line) -> str:
    head, seeds = escape(line.head), escape(line.seeds)
    if line.origin == "published":
        head, seeds = rf"\textit{{{head}}}", rf"\textit{{{seeds}}}"
    return " & ".join([head, seeds, *(_score(table, score, line) for score in line.scores)]) + r" \\"


def _score(table: ScoreTable, score: Score, line: Line) -> str:
    number, interval = map(escape, table.shown(score))
    if score.bold:
        number = rf"\textbf{{{number}}}"
    elif line.origin == "published":
        number = rf"\textit{{{number}}}"
    return number + (rf" {{\scriptsize {interval}}}" if interval else "")

"""Add a loss to the text of the registry, as the formatter would have it; everything else stays as it is."""

from __future__ import annotations

import ast

PACKAGE = "cegppo_verl.losses"
LINE_LENGTH = 110


def with_loss(text: str, name: str) -> str:
    """The registry with an import of ``name`` and its entry at the end.

    Raises:
        ValueError: the text is not the registry it was written for, or has the name already.
    """
    tree = ast.parse(text)
    imported, table = _import(tree), _table(tree)
    if any(isinstance(key, ast.Constant) and key.value == name for key in table.keys):
        raise ValueError(f"'{name}' is in the registry already")
    lines = text.splitlines(keepends=True)
    assert table.end_lineno is not None
    assert imported.end_lineno is not None
    # From the end, so that line numbers above stay right.
    lines.insert(table.end_lineno - 1, f'    "{name}": {name}.LOSS,\n')
    names = [alias.name for alias in imported.names]
    lines[imported.lineno - 1 : imported.end_lineno] = [_import_text(sorted({*names, name}))]
    result = "".join(lines)
    ast.parse(result)
    return result


def _import(tree: ast.Module) -> ast.ImportFrom:
    for node in tree.body:
        if (
            isinstance(node, ast.ImportFrom)
            and node.module == PACKAGE
            and not any(a.asname for a in node.names)
        ):
            return node
    raise ValueError(f"the registry has no plain 'from {PACKAGE} import …'")


def _table(tree: ast.Module) -> ast.Dict:
    for node in tree.body:
        named = (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id == "LOSSES"
        )
        if named and isinstance(node.value, ast.Dict) and node.value.lineno != node.value.end_lineno:  # type: ignore[attr-defined]
            return node.value  # type: ignore[attr-defined]
    raise ValueError("the registry has no dictionary LOSSES of one line per loss")


def _import_text(names: list[str]) -> str:
    line = f"from {PACKAGE} import {', '.join(names)}\n"
    if len(line) <= LINE_LENGTH + 1:
        return line
    return f"from {PACKAGE} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"

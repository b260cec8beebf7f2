"""The file-size budget: median file of src at most 150 lines, none over 400, no function over 60.

Run by `make budget`; prints what is over and exits with 1.
"""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path

MEDIAN, FILE, FUNCTION = 150, 400, 60


def long_functions(path: Path) -> list[str]:
    """Every function of a file that is longer than the budget, docstring included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION:
                found.append(f"{path}:{node.lineno} {node.name} has {length} lines; at most {FUNCTION}")
    return found


def main() -> int:
    """Check src; 0 if within the budget."""
    files = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in sorted(Path("src").rglob("*.py"))}
    problems = [f"{p} has {n} lines; at most {FILE}" for p, n in files.items() if n > FILE]
    problems += [line for p in files for line in long_functions(p)]
    median = statistics.median(n for n in files.values() if n)
    if median > MEDIAN:
        problems.append(f"the median file has {median} lines; at most {MEDIAN}")
    print("\n".join(problems) or f"{len(files)} files, median {median:.0f} lines, longest {max(files.values())}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())

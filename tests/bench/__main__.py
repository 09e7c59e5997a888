"""How long bufscan takes and how much memory, beside what people use today, all measured in one run.

    python -m tests.bench [--quick] [--only WORD] [--runs N] [--json FILE]

Each row runs both sides as whole processes, in turn. Inputs are made once and kept in the user's cache
folder. They are in the page cache when it counts, so that neither side waits for a disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))  # run as a module, its folder is not on the path

from measuring import measure
from rows import rows

if TYPE_CHECKING:
    from measuring import Result


def facts() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "safetensors")},
    }


def shown(result: Result) -> str:
    """One line of the table."""
    row = result.row
    memory = (
        f"{result.ours.mebibytes:,.0f}{f' < {row.most:,.0f}' if row.most else ''}, {result.theirs.mebibytes:,.0f}"
    )
    return (
        f"{row.work:38}{result.ours.seconds:9.3f}{result.theirs.seconds:9.3f}  {row.yardstick:25}"
        f"{result.ratio:7.3f}{row.reach:7.3f}{result.cpu_ratio:7.3f}{result.spread:7.0%}  {memory}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="without the longest rows, on smaller files, where start-up weighs more",
    )
    parser.add_argument("--only", default="", metavar="WORD", help="rows with this in their name")
    parser.add_argument("--runs", type=int, metavar="N", help="of each side (2 when quick, else 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    options = parser.parse_args()
    chosen = [row for row in rows(quick=options.quick) if options.only in row.work]
    print(*(f"{name} {fact}" for name, fact in facts().items()), sep="; ")
    print(
        f"{'seconds are medians, ratios of the best':38}{'ours':>9}{'theirs':>9}{'':27}{'ratio':>7}{'reach':>7}",
        end="",
    )
    print(f"{'cpu':>7}{'spread':>7}  MiB of both")
    results = []
    # Inputs are made in a process of its own: what this one takes, its children are said to take too.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as maker:
        for row in chosen:
            sides = maker.submit(row.make).result()
            results.append(measure(row, sides, options.runs or (2 if options.quick else 7)))
            print(shown(results[-1]), flush=True)
    if options.json:
        figures = [
            {
                "work": each.row.work,
                "yardstick": each.row.yardstick,
                "ours": each.ours._asdict(),
                "theirs": each.theirs._asdict(),
                "ratio": each.ratio,
                "cpu_ratio": each.cpu_ratio,
                "reach": each.row.reach,
            }
            for each in results
        ]
        options.json.write_text(json.dumps({"facts": facts(), "rows": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()

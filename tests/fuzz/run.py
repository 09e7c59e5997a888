"""Fuzz one reader, guided by the coverage of bufscan: `python tests/fuzz/run.py READER [--seconds N]`.

Needs atheris. Crashes are counted once for each place in bufscan, kept in the folder, and do not end the run. Exit
code 1 where there was one.
"""

from __future__ import annotations

import argparse
import ast
import os
import pkgutil
import random
import resource
import sys
import time
import traceback
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

ROOMS = ("formats", "opening", "roles", "source", "values")

with atheris.instrument_imports(include=["bufscan"]):
    from fuzz_targets import MOST_BYTES, MOST_SECONDS, READERS, Seed, corpus, seeds_of, show

    import bufscan

    # Readers are imported when they are needed; what runs before libFuzzer counts would be old to it.
    for module in pkgutil.walk_packages(bufscan.__path__, "bufscan."):
        if module.name.split(".")[1] in ROOMS:
            import_module(module.name)


class LimitError(Exception):
    """An input took too long, or too much memory."""


class Crashes:
    """Runs inputs until time is up, and counts what goes wrong, each place once."""

    def __init__(self, seeds: list[Seed], options: argparse.Namespace, temporary: TemporaryDirectory[str]) -> None:
        self._seeds = seeds
        self._folder = options.crashes
        self._seconds = options.seconds
        self._temporary = temporary
        self._places: set[str] = set()
        self._most = _peak() + MOST_BYTES
        self._start = time.monotonic()
        self._runs = 0

    def run(self, data: bytes) -> None:
        self._runs += 1
        before = time.process_time()
        try:
            show(self._seeds, data)
            if (seconds := time.process_time() - before) > MOST_SECONDS:
                raise LimitError(f"{seconds:.1f} s")  # noqa: TRY301 - counted as any other crash
            if (peak := _peak()) > self._most:
                self._most = peak + MOST_BYTES
                raise LimitError(f"{peak:,} bytes")  # noqa: TRY301 - the same
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            self._note(error, data)
        if time.monotonic() - self._start > self._seconds:
            self._end()

    def _note(self, error: Exception, data: bytes) -> None:
        own = str(Path(bufscan.__file__).parent)
        frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename.startswith(own)]
        place = f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else repr(error)
        if place not in self._places:
            self._places.add(place)
            path = self._folder / f"crash-{len(self._places):03}"
            path.write_bytes(data)
            text = "".join(traceback.format_exception(error))
            print(f"CRASH {place}\n{path}\n{text[-3000:]}", flush=True)

    def _end(self) -> None:
        """The last line, and the end of the process, which libFuzzer would never leave to Python."""
        seconds = time.monotonic() - self._start
        print(f"{seconds:.0f} s, {self._runs:,} executions, {len(self._places)} crashes", flush=True)
        self._temporary.cleanup()
        os._exit(1 if self._places else 0)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class SourceMutator:
    """Puts a part of one source in the place of a like part of another: changed bytes hardly ever parse."""

    def __init__(self, sources: list[bytes]) -> None:
        self._parts: dict[type[ast.AST], list[ast.AST]] = {ast.expr: [], ast.stmt: []}
        for node in (node for source in sources for node in ast.walk(ast.parse(source))):
            for kind, parts in self._parts.items():
                if isinstance(node, kind):
                    parts.append(node)

    def __call__(self, data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)  # noqa: S311 - nothing secret
        try:
            tree = ast.parse(data[1:])
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return bytes(atheris.Mutate(data, most))
        if chance.random() < 0.1:
            return bytes(atheris.Mutate(data, most))
        for _ in range(chance.randrange(1, 4)):
            kind, parts = chance.choice(list(self._parts.items()))
            places = [
                (node, field, place)
                for node in ast.walk(tree)
                for field, value in ast.iter_fields(node)
                for place, each in enumerate(value if isinstance(value, list) else [value])
                if isinstance(each, kind)
            ]
            if places:
                node, field, place = chance.choice(places)
                value = getattr(node, field)
                if isinstance(value, list):
                    value[place] = deepcopy(chance.choice(parts))
                else:
                    setattr(node, field, deepcopy(chance.choice(parts)))
        try:
            return (data[:1] + ast.unparse(tree).encode("utf-8", "replace"))[:most]
        except (ValueError, TypeError, RecursionError):  # no source says this
            return bytes(atheris.Mutate(data, most))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=int, default=120, metavar="N")
    parser.add_argument(
        "--crashes", type=Path, default=Path(), metavar="FOLDER", help="where to write what crashes"
    )
    options = parser.parse_args()
    temporary = TemporaryDirectory()
    written, inputs = Path(temporary.name, "written"), Path(temporary.name, "inputs")
    written.mkdir()
    inputs.mkdir()
    options.crashes.mkdir(parents=True, exist_ok=True)
    seeds = seeds_of(options.reader, written)
    for number, data in enumerate(corpus(seeds)):
        (inputs / str(number)).write_bytes(data)
    longest = 2 * max(map(len, corpus(seeds)))
    arguments = [
        sys.argv[0],
        f"-max_len={longest}",
        "-len_control=0",
        "-keep_seed=1",  # what is changed by the first byte covers the same lines
        "-timeout=60",
        "-rss_limit_mb=0",
        str(inputs),
    ]
    mutator = SourceMutator([seed.data for seed in seeds]) if options.reader == "source" else None
    atheris.Setup(arguments, Crashes(seeds, options, temporary).run, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

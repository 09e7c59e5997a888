"""The manual: a page of Markdown a topic, beside this file. Tests run their examples."""

from __future__ import annotations

from pathlib import Path


def topics() -> dict[str, str]:
    """The pages by their names, in the order of the alphabet. The first line of each is its title."""
    pages = sorted(Path(__file__).parent.glob("*.md"))
    return {page.stem: page.read_text("utf-8") for page in pages}

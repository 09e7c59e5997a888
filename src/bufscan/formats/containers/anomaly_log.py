"""What is odd about one file, with a bound on how often the same can be said."""

from __future__ import annotations

from collections import Counter

from bufscan.inventory import Anomaly

_MOST_OF_A_KIND = 20


class AnomalyLog:
    """The first anomalies of each kind, and how many more there were."""

    def __init__(self) -> None:
        self._noted: list[Anomaly] = []
        self._counts: Counter[str] = Counter()

    def note(self, kind: str, message: str) -> None:
        """Note one; `kind` is a stable word for machines, `message` one sentence for people."""
        self._counts[kind] += 1
        if self._counts[kind] <= _MOST_OF_A_KIND:
            self._noted.append(Anomaly(kind=kind, message=message))

    def anomalies(self) -> tuple[Anomaly, ...]:
        """All that was noted, in order, and then the counts of what was not kept."""
        more = (
            Anomaly(kind=kind, message=f"the same {count - _MOST_OF_A_KIND:,} more times")
            for kind, count in self._counts.items()
            if count > _MOST_OF_A_KIND
        )
        return (*self._noted, *more)

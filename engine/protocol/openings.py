"""How often sealed prompts were opened before: a type that check, final decision and report share."""

from __future__ import annotations

import msgspec


class Openings(msgspec.Struct, frozen=True, kw_only=True):
    """`prompts` of `of` sealed prompts were opened by `runs` earlier runs, each of them `fewest` to `most` times.

    `unknown` is the reason why nobody can tell, `unrecorded` why this run's own opening is not recorded; "" otherwise.
    """

    runs: int
    prompts: int
    of: int
    fewest: int = 0
    most: int = 0
    unknown: str = ""
    unrecorded: str = ""

    @property
    def sentence(self) -> str:
        """The finding in plain words; "" where no earlier run is known to have opened any."""
        return " ".join(filter(None, (self._before(), self._own())))

    def _before(self) -> str:
        if self.unknown:
            return f"It is unknown whether these sealed prompts were opened before: {self.unknown}."
        if not self.prompts:
            return ""
        if self.prompts < self.of:
            which = f"{self.prompts:,} of these {self.of:,} sealed prompts {'was' if self.prompts == 1 else 'were'}"
        else:
            which = f"All {self.of:,} sealed prompts were" if self.of > 1 else "The sealed prompt was"
        times = "once" if self.most == 1 else f"{self.most} times"
        times = times if self.fewest == self.most else f"up to {times}"
        runs = "an earlier run" if self.runs == 1 else f"{self.runs:,} earlier runs"
        return f"{which} opened {times} before, by {runs}: scores on them may be better than on new ones."

    def _own(self) -> str:
        if not self.unrecorded:
            return ""
        return (
            f"Later runs will not know that this one opened them, since that could not be recorded: {self.unrecorded}."
        )

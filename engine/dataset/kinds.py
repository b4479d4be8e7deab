"""The kind of each dev prompt as JSON: a program, since the app, which lists prompts by their kind, loads no numpy.

python -m engine.dataset.kinds COVERAGE_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from engine.dataset.prepare import read_dev, read_train
from engine.dataset.prompt_groups import PromptGroups
from engine.protocol import jsonl


def kinds(coverage: Path) -> dict[str, str]:
    """The kind by the id of each dev prompt, named as in the scores by kind; the same in every round."""
    groups = PromptGroups(read_train(coverage), dev := read_dev(coverage))
    return {dev[place].id: group.name for group in groups.kinds for place in group.dev}


if __name__ == "__main__":
    print(jsonl.dumps(kinds(Path(sys.argv[1]))))

"""The pre-flight check of a settings file: what would fail, what is worth knowing, and what a run would take.

`python -m engine.preflight.check FILE [--json] [--probe] [--notify]` is the program behind `llamaduo-tui check`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from engine.dataset.load import ReadProgress, load
from engine.dataset.prepare import check_splits
from engine.dataset.reading import ReadingLine
from engine.dataset.split import Splits, split
from engine.evaluation import contract
from engine.evaluation.decision import GATE_RISK, fewest_units
from engine.evaluation.power import sealed_power
from engine.preflight import console
from engine.preflight.compute import Resources
from engine.preflight.data import (
    SAMPLE,
    data_report,
    independent,
    opened_notes,
    seen_notes,
    split_notes,
    unit_name,
    volume_note,
)
from engine.preflight.needs import NeedsReader
from engine.preflight.problems import doubts, problems
from engine.preflight.report import DataReport, Estimate, Problem, Report, SplitSize
from engine.preflight.training import SplitLengths, measure_splits
from engine.protocol.counts import number_of, plural
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.paths import cache_dir
from engine.protocol.terminal import say
from engine.service import prompts
from engine.settings.load import load_settings
from engine.settings.preset import load_all
from engine.settings.schema import SANDBOX_MODEL, Migration, Split, Target
from engine.settings.template import unfilled

if TYPE_CHECKING:
    from collections import Counter

    from transformers import PreTrainedTokenizerBase

    from engine.local.resolve import ResolvedModel
    from engine.preflight.report import ModelChoice
    from engine.protocol.power import Power
    from engine.protocol.probe import ModelProbe
    from engine.protocol.rows import Pair
    from engine.stages.local_model import Misfits

Progress = Callable[[str], None]

INTERRUPTED = 130
"""Exit status after Ctrl+C."""


def check(
    file: Path,
    progress: Progress,
    reading: Callable[[ReadProgress], None] = lambda _: None,
    probe: bool = False,
) -> Report:
    """Check a settings file; nothing is started, and nothing paid for but the calls of a `probe`.

    It reads the data first, then looks at the service, and finally loads and measures the local model:
    wrong data is reported within moments. `progress` gets a line now and then while a model is fetched, `reading` what
    `load` reports. A `probe` comes last, and only where nothing else would fail.
    """
    errors: list[LlamaDuoError] = []
    findings = _Findings()
    estimate: Estimate | None = None
    try:
        settings = load_settings(file)
        if unset := unfilled(settings):
            raise InputError(f"still to be filled in: {', '.join(unset)}", f"write your values into {file}")
        findings.notes += [*judge_note(settings), *base_note(settings), *notify_note(settings)]
        resources = Resources(settings, dict(os.environ))
        resources.use()
        model = _resolver(settings, progress)
        try:
            splits = findings.read(settings, model, reading)
        finally:
            errors += problems(settings)
            findings.notes += doubts(settings)
        _check_start(settings, model)
        findings.show_sample(splits)
        lengths = findings.measure(settings, splits)
        findings.notes += rounding_note(settings)
        errors += findings.limits(settings, splits, model())
        errors += lengths.problems(settings.finetune.max_length)
        estimate = _estimate(settings, splits, model(), lengths, findings.again)
        errors += resources.memory_problems(estimate)
        errors += resources.problems()
        findings.notes += resources.notes()
        if probe and not errors:
            errors += findings.probe(settings, splits, progress)
    except LlamaDuoError as error:
        if error.message not in {known.message for known in errors}:
            errors.append(error)
    return Report(
        problems=tuple(map(Problem.of, errors)),
        notes=tuple(findings.notes),
        estimate=estimate,
        data=findings.data,
        power=findings.power,
        probes=tuple(findings.probes),
        choice=findings.choice(),
    )


def _resolver(settings: Migration, progress: Progress) -> Callable[[], ResolvedModel]:
    """Finds the local model, once, and fetches it where it is not here yet; files that cannot be used are an error."""
    from engine.local.quantised import usable_checkpoint
    from engine.local.resolve import resolve

    @cache
    def model() -> ResolvedModel:
        found = resolve(settings.local.model, settings.local.revision, cache_dir(), progress)
        usable_checkpoint(found, settings.local)
        return found

    return model


def _check_start(settings: Migration, model: Callable[[], ResolvedModel]) -> None:
    """Raise InputError where the adapter to start from belongs to another local model."""
    from engine.stages.earlier import earlier, refuse_other_base

    if (found := earlier(settings)) is not None:
        refuse_other_base(found, model())


class _Findings:
    """What is found out about the data and the service; it stays known when an error ends the check."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.data: DataReport | None = None
        self.power: Power | None = None
        self.probes: list[ModelProbe] = []
        self.again: list[Pair] = []
        self._misfits: Misfits | None = None
        self._needs: NeedsReader | None = None
        self._split: Split | None = None

    def read(
        self, settings: Migration, model: Callable[[], ResolvedModel], reading: Callable[[ReadProgress], None]
    ) -> Splits:
        """Load and split the data. Raises InputError where it cannot be used or a split stays empty."""
        from engine.stages.earlier import seen, trained_again_with
        from engine.stages.local_model import misfits

        self._misfits = misfits(settings, model)
        self._needs, self._split = NeedsReader(settings.task.contract.language), settings.coverage.split
        loaded = load(settings.coverage, self._unsupported(self._misfits, self._needs), reading)
        self.notes += breach_note(settings, loaded.pairs)
        known = seen(settings.finetune.start_from)
        splits = split(loaded.pairs, settings.coverage.split, known)
        self.data = data_report(settings.coverage, loaded, splits)
        check_splits(splits)
        self.notes += split_notes(self.data, splits, settings.coverage.split)
        self.again = trained_again_with(settings.synthesis, known, splits)
        self.notes += seen_notes(splits, known, len(self.again))
        self.notes += opened_notes(splits.test)
        if settings.worth.requests_per_day is None:
            self.notes += volume_note(loaded.volume)
        self.notes += template_notes(self._misfits.notes)
        self.power = power(settings.target, splits)
        self.notes += size_notes(settings, self.data)
        return splits

    def _unsupported(self, misfits: Misfits, needs: NeedsReader) -> Callable[[Pair], str]:
        """The check of pairs against the local model; it tells the needs of all, as other models may have them."""

        def unsupported(pair: Pair) -> str:
            needs.add(pair)
            try:
                return misfits(pair)
            except LlamaDuoError:  # the model cannot be found, so not all pairs are looked at
                self._needs = None
                raise

        return unsupported

    def choice(self) -> ModelChoice | None:
        """Which presets fit this machine and suit the data; None where the data was not read."""
        if self._needs is None or (needs := self._needs.needs()) is None:
            return None
        from engine.preflight.advice import choose  # imports torch

        return choose(needs, self._split)

    def show_sample(self, splits: Splits) -> None:
        """Show the sample as the local model will see it. Raises InputError where its tokenizer cannot be loaded."""
        from engine.local.chat import sample_text

        if self.data is not None and self._misfits is not None:
            text = sample_text(self._misfits.tokenizer, splits.train[0])
            self.data = replace(self.data, sample=text[:SAMPLE])

    def measure(self, settings: Migration, splits: Splits) -> SplitLengths:
        """Count tokens, and note pairs that are too long. Raises InputError where the tokenizer cannot be loaded."""
        if self._misfits is None:
            raise ValueError("read the data first")
        most = settings.finetune.max_length
        found = measure_splits(self._misfits.tokenizer, splits, most)
        self.notes += [*missing_template_note(self._misfits.tokenizer), *found.notes(most)]
        return found

    def limits(self, settings: Migration, splits: Splits, model: ResolvedModel) -> list[LlamaDuoError]:
        """The problems that tokens have no embedding, or texts are longer than the model takes."""
        from engine.stages.local_model import refuse_limits

        assert self._misfits is not None
        try:
            refuse_limits(model, settings, self._misfits.tokenizer, splits.train + splits.dev, splits.dev + splits.test)
        except InputError as error:
            return [error]
        return []

    def probe(self, settings: Migration, splits: Splits, progress: Progress) -> list[LlamaDuoError]:
        """Ask the models, and return what would fail. It replaces the notes on what only a call can show."""
        from engine.preflight.probing import probe_models  # loads the clients of services

        self.probes, failures = probe_models(settings, splits, progress)
        known = set(doubts(settings))
        self.notes = [note for note in self.notes if note not in known]
        return failures


def _estimate(
    settings: Migration, splits: Splits, model: ResolvedModel, lengths: SplitLengths, again: list[Pair]
) -> Estimate:
    from engine.local.device import find_device
    from engine.preflight.estimate import estimate  # imports torch

    judging = prompts.load(settings.judge.prompts)
    return estimate(settings, splits, judging, model, find_device(), lengths.longest, again)


def rounding_note(settings: Migration) -> Iterator[str]:
    """That the local model's weights were rounded to few bits, where a GGUF file has them."""
    from engine.local.gguf import rounding

    file = Path(settings.local.model).expanduser()
    if file.suffix == ".gguf" and (note := rounding(file)):
        yield note


def template_notes(changes: Counter[str]) -> Iterator[str]:
    """How pairs are changed to fit the local model's chat template."""
    for change, pairs in changes.items():
        yield f"{change} ({number_of(pairs, 'pair')}); to avoid this, choose another local.model"


def missing_template_note(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """That the local model has no chat template, which may be a file that is missing."""
    from engine.local.template import lacks_template

    if lacks_template(tokenizer):
        yield (
            "the local model has no chat template, as a base model: chats are shown to it as ChatML, which it learns "
            "from your pairs alone; if it is an instruct model, add its chat_template.jinja"
        )


def breach_note(settings: Migration, pairs: list[Pair]) -> Iterator[str]:
    """How many coverage responses break the contract themselves: these, or the contract, should be fixed first."""
    checks = contract.load(settings.task.contract)
    reasons = ((pair.source, checks.broken(pair.target)) for pair in pairs if not pair.target_calls)
    if broken := [f"{source}: {reason}" for source, reason in reasons if reason]:
        yield f"{len(broken)} of {len(pairs)} coverage responses break the contract; the first is {broken[0]}"


def judge_note(settings: Migration) -> Iterator[str]:
    """That the service judges answers against its own earlier ones; the sandbox, which has no style, is left out."""
    for model in settings.own_judges:
        if model != SANDBOX_MODEL:
            yield (
                f"{model} judges answers against its own earlier ones, and judges favour their own style: name another "
                "model in [judge] models"
            )


def notify_note(settings: Migration) -> Iterator[str]:
    """That messages about the run cannot be sent from this environment."""
    if missing := settings.notify.missing(os.environ):
        absent = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in the environment"
        yield f"[notify]: {absent}: no message is sent there"


def send_test(file: Path) -> int:
    """Send a test message to all targets, print what became of it, and return the exit status: 1 where one failed."""
    from engine.notify.notice import trial
    from engine.notify.send import send

    try:
        settings = load_settings(file)
    except LlamaDuoError:  # the report has it
        return 0
    deliveries = send(settings.notify, trial(settings.task.name))
    if not deliveries:
        print("no targets in [notify]: no message was sent")
    for delivery in deliveries:
        print(
            f"message   {delivery.target}: {delivery.problem or 'sent'}", file=sys.stderr if delivery.problem else None
        )
    return 1 if any(delivery.problem for delivery in deliveries) else 0


def base_note(settings: Migration) -> Iterator[str]:
    """That the local model is known as a base model, which a few hundred pairs hardly teach to chat."""
    known = next((found for found in load_all() if found.model == settings.local.model), None)
    if known is not None and known.about.kind == "base":
        yield (
            f"{known.model} is a base model: it learns the form of a chat from your pairs alone, and its answers in "
            "round 0 mean little; an instruct model needs fewer pairs"
        )


def power(target: Target, splits: Splits) -> Power | None:
    """What the sealed split of these can show, and how many more rows a further step takes at this share of it."""
    pairs = [pair for part in splits for pair in part]
    units = independent(splits.test)
    return sealed_power(target, units, unit=unit_name(pairs), rows_per_unit=len(pairs) / units)


def size_notes(settings: Migration, data: DataReport) -> Iterator[str]:
    """Whether there are enough independent prompts: sealed ones for the target, and dev ones for the gate to them."""
    target = settings.target
    sealed, gate = fewest_units(target, 1 - target.confidence), fewest_units(target, GATE_RISK)
    if sealed is None or gate is None:
        yield "no number of prompts can show that this target is reached: it leaves no margin below a perfect score"
        return
    sizes = {size.name: size for size in data.splits}
    dev, test = sizes["dev"], sizes["test"]
    yield from _too_few("sealed", test, sealed, "show that the target is reached")
    yield from _too_few("dev", dev, gate, "open the sealed test before the last round")


def _too_few(name: str, size: SplitSize, least: int, purpose: str) -> Iterator[str]:
    if size.units >= least:
        return
    units = f"1 {name} {size.unit} is" if size.units == 1 else f"{size.units} {name} {plural(size.unit)} are"
    remedy = "" if size.unit == "prompt" else f"; add more {plural(size.unit)}, as rows of the same one count once"
    yield f"{units} too few to {purpose}, even with perfect scores: it takes {least}{remedy}"


def main() -> int:
    """Check a file, print the report, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="llamaduo-tui check", description="Check settings, and estimate what a run takes."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--probe", action="store_true", help="ask each service model once, for a fraction of a cent")
    parser.add_argument("--notify", action="store_true", help="send a test message to the targets in [notify]")
    args = parser.parse_args()
    reading = ReadingLine()
    try:
        report = check(args.file, console.print_progress, reading, args.probe)
    except KeyboardInterrupt:
        say("stopped: nothing was started", err=True)
        return INTERRUPTED
    finally:
        reading.end()
    console.print_report(report, as_json=args.json)
    return report.exit_status or (send_test(args.file) if args.notify else 0)


if __name__ == "__main__":
    sys.exit(main())

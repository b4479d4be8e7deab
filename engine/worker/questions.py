"""The worker's side of questions: ask people, wait as long as it takes, and go on with the first answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.protocol import commands
from engine.protocol.events import Emit, QuestionAnswered, QuestionAsked
from engine.protocol.questions import APPROVE, WITHDRAWN, Answer, Question
from engine.protocol.run_dir import Run

POLL_S = 0.25


class Questions:
    """Asks the questions of a run, one after the other.

    With `approved`, all but those about a cap are answered with yes beforehand. `wait_for` is told the open question,
    and None once it is closed; `circumstances` is what questions depend on besides people's commands.
    """

    def __init__(
        self,
        run: Run,
        *,
        approved: bool,
        emit: Emit,
        wait_for: Callable[[Question | None], None],
        circumstances: Callable[[], object],
    ) -> None:
        self._file = run.commands_file
        self._approved, self._emit, self._wait_for, self._circumstances = approved, emit, wait_for, circumstances
        self._one_at_a_time = asyncio.Lock()

    async def ask(
        self,
        question: Question,
        revise: Callable[[], Question | None] | None = None,
        *,
        beforehand: bool = True,
        moot: Callable[[], bool] = lambda: False,
    ) -> Answer | None:
        """The answer to a question, given before or waited for.

        After each command and each change of circumstances, `revise` gives the question as it stands now; where that
        is None, there is nothing left to ask. A question about a cap is settled by that alone: a higher cap, not the
        answer that announces it, lets the run go on. One that was not approved `beforehand` always waits for a person.
        Once it is `moot`, it is withdrawn: there is no answer.
        """
        answer = None if question.cap else await self._given(question)
        if answer is None and self._approved and beforehand and not question.cap:
            answer = Answer(question=question.key, choice=APPROVE, id="auto")
        if answer is None:
            async with self._one_at_a_time:
                if await asyncio.to_thread(moot):
                    return None
                answer = await self._wait(question, revise, moot)
                self._wait_for(None)
        if answer is not None:
            self._tell(question, answer.choice, answer.id, answer.pairs or question.pairs, answer.by)
        elif await asyncio.to_thread(moot):
            self._tell(question, WITHDRAWN, "", None)
        return answer

    async def _given(self, question: Question) -> Answer | None:
        """The answer that counts so far; the file may hold a hundred thousand reviews, too."""
        return await asyncio.to_thread(commands.answer, self._file, question)

    def _tell(self, question: Question, choice: str, id_: str, pairs: int | None, by: str = "") -> None:
        event = QuestionAnswered(round=question.round, question=question, choice=choice, answer=id_, pairs=pairs, by=by)
        self._emit(event)

    async def _wait(
        self, question: Question, revise: Callable[[], Question | None] | None, moot: Callable[[], bool]
    ) -> Answer | None:
        asked: Question | None = None
        seen: tuple[int, object] | None = None
        while not await asyncio.to_thread(moot):  # it may hash what a stage wrote
            now = (commands.size(self._file), self._circumstances())
            if now != seen:
                answer = await self._given(question)
                if answer is not None and not question.cap:
                    return answer
                if revise is not None and (seen is not None or question.cap):
                    revised = await asyncio.to_thread(revise)  # it may read all verdicts and reviews again
                    if revised is None:
                        return answer
                    question = revised
                seen = now
            if question != asked:
                asked = question
                self._wait_for(question)
                self._emit(QuestionAsked(round=question.round, question=question))
            await asyncio.sleep(POLL_S)
        return None

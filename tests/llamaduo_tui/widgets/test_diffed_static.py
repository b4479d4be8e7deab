from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.content import Content

from llamaduo_tui.widgets.diffed_static import DiffedStatic


class Host(App[None]):
    def compose(self) -> ComposeResult:
        yield DiffedStatic(Content.styled("one", "bold"))


@pytest.mark.parametrize("display", [True, False])
async def test_what_is_shown_already_asks_for_nothing(display: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Host().run_test() as pilot:
        shown = pilot.app.query_one(DiffedStatic)
        shown.display = display
        await pilot.pause()
        asked: list[dict[str, Any]] = []
        monkeypatch.setattr(shown, "refresh", lambda **how: asked.append(how))
        shown.put(Content.styled("one", "bold"))
        assert not asked
        shown.put(Content.styled("one", "dim"))
        assert [how["layout"] for how in asked] == [not display]  # of a hidden one it is not known

"""A column whose last part takes the room that the parts above it leave."""

from __future__ import annotations

from textual.geometry import Size
from textual.layout import ArrangeResult
from textual.layouts.vertical import VerticalLayout
from textual.widget import Widget


class Filling(VerticalLayout):
    """Arranges parts one below the other; of short ones the last reaches the end, and of long ones all scroll."""

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        placements = super().arrange(parent, children, size, greedy)
        if not placements:
            return placements
        *above, last = placements
        free = max(0, size.height - last.region.bottom - last.margin.bottom)
        return [*above, last._replace(region=last.region._replace(height=last.region.height + free))]

"""What is left of a run, and the load of its machine, in the figures next to its rounds."""

import re

from msgspec.structs import replace

from engine.protocol.events import ServiceUsage
from engine.protocol.machine import Gpu, Machine
from engine.protocol.outlook import Outlook, Range
from llamaduo_tui.widgets.usage import ahead, brief, table

AHEAD = Outlook(
    at=0.0,
    left_s=Range(least=3600, expected=7800, most=14_400),
    usd=Range(least=1.5, expected=3.4, most=6.1),
    spent_usd=1.2,
    rounds=Range(least=1, expected=2, most=4),
)


def test_time_and_money_of_the_whole_run() -> None:
    assert [line.plain[9:] for line in ahead(AHEAD)] == [
        "about 2.2 h", "60 min to 4.0 h", "about $3.40 in all",
    ]  # fmt: skip
    (line,) = ahead(AHEAD, whole=True)
    assert "about 2 h 10 min of work left (1 h to 4 h); $1.20 so far, about $3.40 in all" in line.plain
    assert ahead(None) == []
    assert re.search(r"ends about \w+ \d\d:\d\d", ahead(AHEAD, whole=True, running=True)[0].plain)
    assert len(ahead(AHEAD, running=True)) == 4
    assert len(ahead(replace(AHEAD, unknown=("finetune",)), running=True)) == 2, "no end where work is not timed yet"


def test_calls_without_a_known_price_are_not_free() -> None:
    spent = ServiceUsage(calls=33, cached_calls=2, failed_calls=0, prompt_tokens=9, completion_tokens=9, cost_usd=0.0)
    assert "price unknown, 33 calls" in brief(spent, None, None, priced=False)[0].plain
    assert "price unknown" in " ".join(line.plain for line in table(spent, None, None, priced=False))
    assert "free, 33 calls" in brief(spent, None, None)[0].plain
    assert "$0.20, 33 calls" in brief(replace(spent, cost_usd=0.2), None, None, priced=False)[0].plain


def gpus(count: int) -> Machine:
    gib = 1024**3
    return Machine(
        30.0, 8 * gib, 64 * gib, tuple(Gpu(90.0 + n // 2, (30 + n) * gib, 80 * gib, str(n)) for n in range(count))
    )


def test_each_gpu_of_the_run_has_its_line_and_the_others_are_one() -> None:
    assert [line.plain for line in table(None, None, gpus(8), ["2", "5"])][2:] == [
        "GPU 2    ━━━━━━━━━─ 91% 32 of 80 GB",
        "GPU 5    ━━━━━━━━━─ 92% 35 of 80 GB",
        "others   6 GPUs, 92%, 201 of 480 GB",
    ]
    many = [line.plain for line in table(None, None, gpus(8))][2:]
    assert many[0] == "GPUs     0 90% 30 GB · 1 90% 31 GB" and len(many) == 4
    assert max(map(len, many)) <= 36


def test_on_one_line_several_gpus_are_added_up() -> None:
    (line,) = brief(None, None, gpus(8), ["2", "5"])
    assert "2 GPUs, 92%, 67 of 160 GB; others: 6 GPUs, 92%" in line.plain
    assert "GPU 5 92% 35 GB; others: 7 GPUs" in brief(None, None, gpus(8), ["5"])[0].plain
    assert brief(None, None, gpus(1))[0].plain.endswith("GPU 90% 30 GB")

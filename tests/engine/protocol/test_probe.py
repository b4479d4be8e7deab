from engine.protocol import records
from engine.protocol.probe import ModelProbe


def test_a_line_says_who_answered_how_fast_and_at_what_cost() -> None:
    probe = ModelProbe(model="openai/gpt-4o", task="verdict", seconds=1.84, cost_usd=0.00042)
    assert probe.line == "openai/gpt-4o answers: a verdict in 1.8 s, $0.0004"
    named = ModelProbe(model="m", task="pair", seconds=0.1, cost_usd=None, answered_by="m-2024")
    assert named.line == "m answers: a pair in 0.1 s, unknown price, as m-2024"
    kept = ModelProbe(model="m", task="pair", seconds=0.0, cost_usd=0.0, kept=True)
    assert kept.line == "m answers: a pair that an earlier call paid for"
    refused = ModelProbe(model="m", task="pair", seconds=0.0, cost_usd=None, refusal="content_filter")
    assert refused.line == "m refuses the rows that it was asked about: content_filter"


def test_a_probe_survives_json() -> None:
    probe = ModelProbe(model="m", task="pair", seconds=0.1, cost_usd=None, warnings=("a", "b"))
    assert records.build(ModelProbe, records.to_row(probe)) == probe

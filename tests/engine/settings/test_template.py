"""A generated migration.toml reads back as the settings that it was made from, and explains each of them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from engine.settings import template
from engine.settings.load import load_settings
from engine.settings.schema import Migration

words = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20)
numbers = st.floats(0.01, 1e6)
values = st.one_of(words, st.booleans(), st.integers(-(2**62), 2**62), numbers)
migrations = st.builds(
    lambda topic, source, params, budget, dev, models, hours, target: Migration.model_validate(
        {
            "task": {"topic": topic},
            "coverage": {"source": f"/x{source}", "split": {"dev": dev}},
            "service": {
                **{"model": "sandbox", "params": params, "budget_usd": budget},
                "models": {model: {"rpm": len(model) + 1} for model in models},
            },
            "judge": {"models": models},
            "loop": {"max_hours": hours},
            "target": {"precision": target},
        }
    ),
    words,
    words,
    st.dictionaries(
        st.text("abcé. -", min_size=1), values | st.lists(words) | st.dictionaries(words, values), max_size=3
    ),
    st.none() | numbers,
    st.floats(0.01, 0.7),
    st.lists(words, max_size=3),
    st.none() | st.floats(0.01, 8760),
    st.floats(1, 100),
)


@given(migrations)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_is_rendered_loads_the_same(tmp_path: Path, migration: Migration) -> None:
    file = tmp_path / "migration.toml"
    file.write_text(template.render(migration), encoding="utf-8")
    assert load_settings(file) == migration


def test_every_table_and_key_is_explained() -> None:
    lines = template.render().splitlines()

    def look(model: type[BaseModel], path: str) -> None:
        for name, field in model.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                place = lines.index(f"[{path}{name}]")
                assert lines[place + 1].startswith("# ")
                look(inner, f"{path}{name}.")
            else:
                assert any(line.removeprefix("#").startswith(f"{name} =") for line in lines), name
                assert any(line.startswith(f"# {(field.description or '!')[:60]}") for line in lines), name

    look(Migration, "")


def test_a_new_file_marks_what_only_the_user_knows(tmp_path: Path) -> None:
    text = template.render()
    assert [line.split(" = ")[0] for line in text.splitlines() if line.endswith("# FILL IN")] == ["source", "model"]
    file = tmp_path / "migration.toml"
    file.write_text(text)
    defaults = Migration.model_validate(
        {"coverage": {"source": str(tmp_path / "your-prompts.jsonl")}, "service": {"model": "provider/model"}}
    )
    assert load_settings(file) == defaults


def test_a_preset_sets_its_keys_and_leaves_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "migration.toml"
    file.write_text(template.render(preset={"local": {"model": "google/gemma-2b", "adapter": {"r": 8}}}))
    loaded = load_settings(file)
    assert (loaded.local.model, loaded.local.adapter.r, loaded.local.adapter.alpha) == ("google/gemma-2b", 8, 32)

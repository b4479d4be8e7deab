import socket
from pathlib import Path
from typing import Any

import pytest

from engine.preflight import problems as preflight
from engine.protocol.errors import InputError, LlamaDuoError, ServiceError
from engine.settings.schema import Migration


def settings(judge: dict[str, Any] | None = None, **service: Any) -> Migration:
    tables = {"coverage": {"source": "a.jsonl"}, "service": {"model": "sandbox", **service}, "judge": judge or {}}
    return Migration.model_validate(tables)


def problems(found: Migration) -> list[LlamaDuoError]:
    return list(preflight.problems(found))


@pytest.fixture
def address() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def test_the_sandbox_needs_nothing() -> None:
    assert problems(settings(budget_usd=1.0)) == []
    preflight.raise_problems(settings())


def test_a_model_of_no_provider() -> None:
    (problem,) = problems(settings(model="my-model"))

    assert isinstance(problem, InputError)
    assert "'my-model': unknown provider" in problem.message and "openai/NAME" in problem.hint


@pytest.mark.parametrize("typed, meant", [("gpt-4oo", "gpt-4o"), ("sandbx", "sandbox")])
def test_a_name_with_a_slip_names_the_nearest(typed: str, meant: str) -> None:
    (problem,) = problems(settings(model=typed))
    assert isinstance(problem, InputError)
    assert problem.hint.startswith(f"did you mean {meant!r}?")


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = problems(settings(model="gpt-4o"))
    assert "OPENAI_API_KEY is not in the environment" in problem.message

    (problem,) = problems(settings(model="gpt-4o", api_key_env="MY_KEY"))
    assert "MY_KEY is not in the environment" in problem.message

    monkeypatch.setenv("MY_KEY", "")
    assert len(problems(settings(model="gpt-4o", api_key_env="MY_KEY"))) == 1
    monkeypatch.setenv("MY_KEY", "sk-1")
    assert problems(settings(model="gpt-4o", api_key_env="MY_KEY")) == []


def test_only_openai_and_azure_have_a_batch_api(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "sk-1")
    judges = {"models": ["gpt-4o", "anthropic/claude-sonnet-4-5"]}
    (problem,) = problems(settings(judge=judges, model="gpt-4o", batch=True))
    assert problem.message == "anthropic/claude-sonnet-4-5: has no batch API" and "batch to false" in problem.hint
    assert "sandbox: has no batch API" in problems(settings(batch=True))[0].message
    assert problems(settings(model="gpt-4o", batch=True)) == []


def test_every_judge_is_checked() -> None:
    found = problems(settings(judge={"models": ["gpt-4o", "anthropic/claude-sonnet-4-5", "gpt-4o"]}))

    assert [problem.message.split(":")[0] for problem in found] == ["gpt-4o", "anthropic/claude-sonnet-4-5"]


def test_a_budget_needs_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    (problem,) = problems(settings(model="openai/mine", budget_usd=5))
    assert "no known price" in problem.message and "input_price" in problem.hint

    assert problems(settings(model="openai/mine", budget_usd=5, input_price=1, output_price=2)) == []
    assert problems(settings(model="gpt-4o", budget_usd=5)) == []
    assert problems(settings(model="openai/mine")) == []


def test_a_judge_has_a_price_and_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    judge = {"models": ["openai/judge"]}
    (problem,) = problems(settings(model="gpt-4o", judge=judge, budget_usd=5))
    assert problem.message.startswith("openai/judge: no known price") and "[service] models" in problem.hint

    own: dict[str, object] = {"input_price": 1, "output_price": 2}
    assert problems(settings(model="gpt-4o", judge=judge, budget_usd=5, models={"openai/judge": own})) == []
    own["api_key_env"] = "NO_SUCH_VARIABLE"
    (problem,) = problems(settings(model="gpt-4o", judge=judge, models={"openai/judge": own}))
    assert "NO_SUCH_VARIABLE is not in the environment" in problem.message and "[service] models" in problem.hint


def test_the_address_of_a_judge_is_tried(address: str) -> None:
    found = problems(settings(judge={"models": ["openai/judge"]}, models={"openai/judge": {"api_base": address}}))

    assert f"{address} cannot be reached: Connection refused" in [problem.message for problem in found]


def test_an_address_where_nobody_listens(address: str) -> None:
    (problem,) = problems(settings(api_base=address))

    assert isinstance(problem, ServiceError)
    assert problem.message == f"{address} cannot be reached: Connection refused"


@pytest.mark.parametrize(
    "bad",
    ["127.0.0.1:8000", "ftp://x", "http://", "http://127.0.0.1:99999/v1", "http://[::1/v1", f"http://{'a' * 80}.x/"],
)
def test_an_invalid_address(bad: str) -> None:
    (problem,) = problems(settings(api_base=bad))

    assert bad in problem.message


UNRESOLVED = "https://judge.corp.example/v1"


def test_an_address_behind_a_proxy_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:planted@proxy.corp.example:3128")
    monkeypatch.setattr(socket, "create_connection", None)
    own = settings(api_base=UNRESOLVED)

    assert problems(own) == []
    (doubt,) = preflight.doubts(own)
    assert doubt.startswith(f"{UNRESOLVED} is reached through the proxy proxy.corp.example:3128 and was not checked")
    assert "check FILE --probe" in doubt and "planted" not in doubt


def test_an_address_that_the_proxy_is_not_for_is_connected_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("http_proxy", "proxy.corp.example:3128")
    monkeypatch.setenv("no_proxy", "other.example,127.0.0.1")
    own = settings(api_base=address)

    assert [problem.message for problem in problems(own)] == [f"{address} cannot be reached: Connection refused"]
    assert list(preflight.doubts(own)) == []


def test_what_a_key_file_or_a_server_decides_is_a_doubt(address: str) -> None:
    own = settings(model="openai/mine", api_base=address, models={})
    assert [problem.message for problem in problems(own)] == [f"{address} cannot be reached: Connection refused"]
    (doubt,) = preflight.doubts(own)
    assert doubt.startswith(f"OPENAI_API_KEY is not in the environment: {address} is asked without a key; `llamaduo")


def test_azure_needs_an_address_and_any_one_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    key, nowhere = problems(settings(model="azure/mine"))
    assert key.message == "azure/mine: no API key: AZURE_API_KEY is not in the environment"
    assert nowhere.message.startswith("azure/mine: no address") and "export AZURE_API_BASE" in nowhere.hint

    monkeypatch.setenv("AZURE_AD_TOKEN", "planted")
    monkeypatch.setenv("AZURE_API_BASE", "https://mine.openai.azure.com")
    assert problems(settings(model="azure/mine")) == [] == list(preflight.doubts(settings(model="azure/mine")))


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.service.access.find_spec", lambda _: None)
    (problem,) = problems(settings(model="vertex_ai/gemini-2.5-pro"))
    assert problem.hint == "pip install google-auth"


def test_prompts_and_service_are_reported_together(address: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "none.toml")
    found = problems(settings(judge={"prompts": missing}, model="my-model", api_base=address))

    assert len(found) == 3
    with pytest.raises(InputError, match=r"none\.toml"):
        preflight.raise_problems(settings(judge={"prompts": missing}))


def test_a_bad_contract_is_a_problem() -> None:
    bad = Migration.model_validate({**settings().model_dump(), "task": {"contract": {"pattern": "("}}})
    (problem,) = problems(bad)

    assert isinstance(problem, InputError) and problem.message.startswith("task.contract.pattern: ")

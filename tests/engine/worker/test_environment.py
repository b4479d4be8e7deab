"""Keys reach only the stages that need them."""

from __future__ import annotations

from typing import Any

from engine.protocol.stages import COVERAGE, FINETUNE, INFER, Stage
from engine.settings.schema import Migration
from engine.worker.environment import needed

SECRETS = {
    "OPENAI_API_KEY": "1",
    "ANTHROPIC_AUTH_TOKEN": "2",
    "AWS_SECRET_ACCESS_KEY": "3",
    "MY_LOGIN": "4",
    "WANDB_API_KEY": "5",
    "BOX_API_KEY": "6",
    "HF_TOKEN": "7",
    "PGPASSWD": "8",
}
PLAIN = {"PATH": "/bin", "HOME": "/home/me", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "0"}


def kept(stage: Stage, **more: Any) -> set[str]:
    given = {"coverage": {"source": "a.jsonl"}, "service": {"model": "openai/x", "api_key_env": "MY_LOGIN"}, **more}
    found = needed(Migration.model_validate(given), stage, SECRETS | PLAIN)
    assert PLAIN.items() <= found.items() and found["PYTHONSAFEPATH"] == "1"
    return found.keys() & SECRETS.keys()


def test_a_stage_gets_the_keys_that_it_needs_and_no_other() -> None:
    assert kept(COVERAGE) == kept(FINETUNE) == kept(INFER) == {"HF_TOKEN"}
    tracked = {"finetune": {"report_to": ["wandb"]}}
    assert kept(FINETUNE, **tracked) == {"HF_TOKEN", "WANDB_API_KEY"} and kept(INFER, **tracked) == {"HF_TOKEN"}
    served = {"inference": {"backend": "endpoint", "api_base": "http://box:1/v1", "api_key_env": "BOX_API_KEY"}}
    served["inference"]["serve"] = "serve {merged}"
    assert kept(INFER, **served) == {"HF_TOKEN", "BOX_API_KEY"} and kept(FINETUNE, **served) == {"HF_TOKEN"}

"""The prompt templates that tests fill in: the project's own, and ones in LlamaDuo's manner."""

from pathlib import Path
from string import Template

import tomli

import engine

TEMPLATES = tomli.loads((Path(engine.__file__).parent / "service" / "prompts.toml").read_text())
JUDGE = Template(TEMPLATES["eval"]["prompt"])
WRITER = Template(TEMPLATES["synth_data_gen"]["prompt"])
PAIR_JUDGE = Template(TEMPLATES["pair_eval"]["prompt"])

FENCED_JUDGE = Template(
    "Compare two responses to an instruction.\n\n"
    "Instruction:\n```\n$instruction\n```\n\nHuman response:\n```\n$human_response\n```\n\n"
    "## LM response\n```\n$lm_response\n```\n\n"
    'Answer as {"similarity_assessment": {"score": 1}, "precision_assessment": {"score": 1}}'
)
FENCED_WRITER = Template(
    "Write pairs about $topic.\n\nInstruction:\n```\n$instruction\n```\nResponse:\n```\n$response\n```\n"
    'Answer as {"contents": [{"instruction": "", "response": ""}]}'
)
HEADED_WRITER = Template(
    "Example pair:\n\nInstruction: $instruction\nResponse: $response\n\nThe topic is $topic.\n"
    'Answer as {"contents": [{"instruction": "", "response": ""}]}'
)


def judge_prompt(template: Template, instruction: str, reference: str, response: str) -> str:
    return template.safe_substitute(
        instruction=instruction, human_response=reference, lm_response=response, mark="0badcafe"
    )


def writer_prompt(template: Template, instruction: str, response: str, count: int = 5, variation: str = "") -> str:
    texts = {"instruction": instruction, "response": response, "variation": variation}
    return template.safe_substitute(texts, topic="tickets", count=count, context="", mark="0badcafe")

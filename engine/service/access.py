"""How litellm gets access to each provider: the environment variables that it reads, and which providers need no key.

Plain data, so that the app can read it without litellm. A way that litellm does not know is missing here on purpose: a
managed identity of Azure, for one, does not work through it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec

Way = tuple[str, ...]
"""Variables that give access together."""


@dataclass(frozen=True, slots=True)
class Access:
    """The ways to a provider, by litellm; () where it is asked without a key.

    `elsewhere` says where its own library looks, too, "" for nowhere. `address` are the variables for the address where
    the provider has none of its own. `packages` map a module that a call imports to the package that brings it.
    """

    ways: tuple[Way, ...] = ()
    elsewhere: str = ""
    address: tuple[str, ...] = ()
    packages: tuple[tuple[str, str], ...] = ()

    @property
    def open(self) -> bool:
        """Whether one of the ways is in the environment."""
        return any(all(map(os.environ.get, way)) for way in self.ways)

    @property
    def missing(self) -> list[str]:
        """The variables that would give access; [] where there is access, or where there may be without them.

        Of a way that lacks one variable alone it is that one, else the first way's.
        """
        if not self.ways or self.open or self.elsewhere:
            return []
        lacking = [[name for name in way if not os.environ.get(name)] for way in self.ways]
        nearly = [names for names, way in zip(lacking, self.ways, strict=True) if len(names) == 1 < len(way)]
        return [*nearly, lacking[0]][0]

    @property
    def missing_package(self) -> str:
        """The package that a call needs and that is not installed, else ""."""
        return next((package for module, package in self.packages if not _installed(module)), "")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of its parent
        return False


def _any_of(*names: str) -> tuple[Way, ...]:
    return tuple((name,) for name in names)


AWS = Access(
    (
        ("AWS_BEARER_TOKEN_BEDROCK",),
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        *_any_of("AWS_PROFILE", "AWS_PROFILE_NAME", "AWS_ROLE_ARN", "AWS_ROLE_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        *_any_of("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ),
    elsewhere="~/.aws and the instance's role",
    packages=(("boto3", "boto3"),),
)
GOOGLE_CLOUD = Access(
    _any_of("GOOGLE_APPLICATION_CREDENTIALS", "VERTEXAI_CREDENTIALS", "VERTEX_CREDENTIALS"),
    elsewhere="gcloud's login and the instance's account",
    packages=(("google.auth", "google-auth"),),
)
AZURE: tuple[Way, ...] = (
    *_any_of("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_AD_TOKEN", "AZURE_OPENAI_AD_TOKEN"),
    ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"),
    ("AZURE_CLIENT_ID", "AZURE_USERNAME", "AZURE_PASSWORD"),
)
COHERE = Access(_any_of("COHERE_API_KEY", "CO_API_KEY"))

ACCESS: dict[str, Access] = {
    "openai": Access(_any_of("OPENAI_API_KEY")),
    "text-completion-openai": Access(_any_of("OPENAI_API_KEY")),
    "anthropic": Access(
        (
            *_any_of("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
            ("ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_ORGANIZATION_ID"),
        )
    ),
    "gemini": Access(_any_of("GEMINI_API_KEY", "GOOGLE_API_KEY")),
    "mistral": Access(_any_of("MISTRAL_API_KEY", "MISTRAL_AZURE_API_KEY")),
    "azure": Access(AZURE, address=("AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT")),
    "azure_ai": Access((("AZURE_AI_API_KEY",), *AZURE), address=("AZURE_AI_API_BASE",)),
    "openrouter": Access(_any_of("OPENROUTER_API_KEY", "OR_API_KEY")),
    "deepseek": Access(_any_of("DEEPSEEK_API_KEY")),
    "groq": Access(_any_of("GROQ_API_KEY")),
    "together_ai": Access(
        _any_of("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN")
    ),
    "xai": Access(_any_of("XAI_API_KEY")),
    "fireworks_ai": Access(
        _any_of("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN")
    ),
    "perplexity": Access(_any_of("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY")),
    "cohere": COHERE,
    "cohere_chat": COHERE,
    "deepinfra": Access(_any_of("DEEPINFRA_API_KEY")),
    "cerebras": Access(_any_of("CEREBRAS_API_KEY")),
    "nvidia_nim": Access(_any_of("NVIDIA_NIM_API_KEY")),
    "sambanova": Access(_any_of("SAMBANOVA_API_KEY")),
    "moonshot": Access(_any_of("MOONSHOT_API_KEY")),
    "bedrock": AWS,
    "bedrock_converse": AWS,
    "sagemaker": AWS,
    "sagemaker_chat": AWS,
    "vertex_ai": GOOGLE_CLOUD,
    "vertex_ai_beta": GOOGLE_CLOUD,
    "ollama": Access(),
    "ollama_chat": Access(),
    "hosted_vllm": Access(address=("HOSTED_VLLM_API_BASE",)),
    "lm_studio": Access(address=("LM_STUDIO_API_BASE",)),
    "llamafile": Access(),
    "docker_model_runner": Access(),
    "lemonade": Access(),
}
"""By litellm's name of the provider, which is the prefix of its models. For others litellm's own check decides."""

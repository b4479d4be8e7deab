"""Uploads released artefacts to the Hub, as private repositories, only when asked to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.protocol.errors import InputError, LlamaDuoError


def push(release: Path, names: Sequence[str], repo: str, tell: Callable[[str], None]) -> None:
    """Upload the artefacts: one into the repository's root, several each into a folder of its name.

    Raises InputError where the id is wrong, the repository public, or nothing was released, LlamaDuoError where the Hub
    fails.
    """
    import httpx
    from huggingface_hub import HfApi, errors

    if not names:
        raise InputError("nothing was released, so nothing is uploaded", "see gate.json of each artefact")
    api = HfApi()
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        if not api.repo_info(repo).private:  # one that was there before
            raise InputError(
                f"{repo} is public: everybody could read the model", "make it private, or name another one"
            )
        for name in names:
            tell(f"{name}: uploading to {api.endpoint}/{repo}")
            place = name if len(names) > 1 else None
            api.upload_folder(repo_id=repo, folder_path=release / name, path_in_repo=place)
    except errors.HFValidationError:
        raise InputError(f"{repo}: not a Hub id", "write it as owner/name") from None
    except errors.OfflineModeIsEnabled:
        raise LlamaDuoError(f"{repo}: the Hub is switched off", "unset HF_HUB_OFFLINE to upload") from None
    except errors.HfHubHTTPError as error:
        problem, hint = f"the Hub refuses: {_reason(error)}", "set HF_TOKEN to a token that may write"
        raise LlamaDuoError(f"{repo}: {problem}", hint) from None
    except (httpx.HTTPError, OSError, RuntimeError) as error:  # hf_xet, which sends large files, raises Python's own
        problem = f"the Hub at {api.endpoint} cannot be reached, or breaks off: {_reason(error)}"
        raise LlamaDuoError(f"{repo}: {problem}", "what was released stays in the run: release it again") from None


def _reason(error: Exception) -> str:
    """The first line of an error."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__

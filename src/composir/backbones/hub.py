"""Finds a checkpoint's folder: a local one, or one in the Hugging Face cache, downloaded there if need be.

Differs from transformers' own look-up: only safetensors, never pickle and never code from the hub; a complete cached
copy is used without asking the network; what is missing is said in one message with the places searched and the remedy.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from composir.errors import ComposirError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
FILES = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")
PATTERNS = [*FILES, *WEIGHTS, "model-*.safetensors"]
WANTED = ", ".join((*FILES, WEIGHTS[0]))


def find_folder(name: str, revision: str = "main") -> Path:
    """The folder that holds `name`: a local path, or a hub repository "org/repo".

    Raises:
        ComposirError: Nothing of that name, files missing, or only pickled weights.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        check_folder(folder)
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ComposirError(f"no folder {name!r}; give a folder with {WANTED}, or a hub repository as 'org/repo'")
    return find_repository(name, revision)


def find_repository(name: str, revision: str) -> Path:
    """The cached or downloaded folder of a hub repository "org/repo", whatever folders lie here.

    Raises:
        ComposirError: No such repository or revision, no network, or only pickled weights.
    """
    return _cached(name, revision) or _download(name, revision)


def check_folder(folder: Path) -> None:
    """Refuse a folder that lacks a file, or whose weights are pickled."""
    present = {path.name for path in folder.iterdir()}
    missing = _missing(present)
    if not missing:
        return
    pickled = _pickled(present)
    if WEIGHTS[0] in missing and pickled:
        raise ComposirError(
            f"{folder} has only pickled weights ({', '.join(pickled)}), which can run code when read; convert them "
            "once if you trust them: read them with transformers and call model.save_pretrained(folder)"
        )
    raise ComposirError(f"{folder} lacks {', '.join(missing)}; a checkpoint folder holds {WANTED}")


def _missing(present: Collection[str]) -> list[str]:
    weights = [] if any(name in present for name in WEIGHTS) else [WEIGHTS[0]]
    return [name for name in FILES if name not in present] + weights


def _pickled(present: Collection[str]) -> list[str]:
    return sorted(n for n in present if n.endswith((".bin", ".pt", ".pth", ".ckpt")) and n != "training_args.bin")


def _cached(repo: str, revision: str) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(repo, revision=revision, allow_patterns=PATTERNS, local_files_only=True)
    except (OSError, ValueError):  # not there or not whole, or no valid repository name: the download says which
        return None
    return None if _missing({path.name for path in Path(folder).iterdir()}) else Path(folder)


def _download(repo: str, revision: str) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download

    try:
        # Asked first: it fails at once without a network, where a download retries for half a minute.
        listing = HfApi().model_info(repo, revision=revision, timeout=15).siblings or []
        present = {entry.rfilename for entry in listing}
        missing = _missing(present)
        folder = "" if missing else snapshot_download(repo, revision=revision, allow_patterns=PATTERNS)
    except Exception as error:  # hub, network and disk have no common base class, and it changes between versions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        connect = "unset HF_HUB_OFFLINE and connect once" if constants.HF_HUB_OFFLINE else "connect once"
        raise ComposirError(
            f"backbone {repo!r} at revision {revision!r} cannot be had: {reason}. Looked for {WANTED} in the Hugging "
            f"Face cache {constants.HF_HUB_CACHE} and on {constants.ENDPOINT}. Remedy: {connect}; or set HF_HOME to "
            "a folder whose cache holds it; or put these files into a folder and give that folder instead of the name"
        ) from None
    if missing:
        pickled = ", ".join(_pickled(present))
        raise ComposirError(
            f"backbone {repo!r} at revision {revision!r} lacks {', '.join(missing)}"
            + (f" (it has {pickled}, but pickled weights are not read)" if pickled else "")
            + ". Remedy: name a revision that has them, often the safetensors conversion 'refs/pr/<number>' among its "
            "pull requests; or write them with transformers' save_pretrained into a folder and give that folder"
        )
    return Path(folder)

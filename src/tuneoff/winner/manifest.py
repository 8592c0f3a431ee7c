"""`tuneoff.json`: what a saved model is made of, and everything that `tuneoff predict` needs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from tuneoff import registry
from tuneoff.backbones.names import BackboneKind, Head, builtin_names, folder_of
from tuneoff.errors import BackboneError
from tuneoff.settings import Settings
from tuneoff.whole_file import write_whole

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import BackboneOptions
    from tuneoff.methods import Method
    from tuneoff.tasks import Task

FILE = "tuneoff.json"
Form = Literal["peft", "model", "hooks"]
"""How weights are saved: as a PEFT adapter; as a whole Hugging Face model; as our own hooks,
where a method has neither form."""


class Part(Settings):
    """A registered method or task with its settings."""

    name: str
    """Its name in the study."""
    part: str
    """The name of its file."""
    settings: dict[str, Any]


class BackboneFacts(Settings):
    """What the tensors stand on."""

    name: str
    """Its name in the study."""
    path: str
    """Built-in name, absolute folder or hub name."""
    options: dict[str, Any]
    """How it was loaded (`BackboneOptions`, without the model)."""
    weights: str
    """Hash of its weight files."""
    architecture: str | None = None
    """What transformers calls its architecture, e.g. `bert`."""


class DataFacts(Settings):
    """How rows are read, so that new ones are read alike."""

    dataset: str
    reading: dict[str, Any]
    """Settings of the dataset part that say how files are read (delimiter, encoding, ...)."""
    columns: dict[str, str | list[str]]
    """What the task calls a column -> what the data calls it."""
    texts: list[str]
    """The text columns that the task reads."""
    title: str
    synthetic: bool


class Manifest(Settings):
    """The content of `tuneoff.json`."""

    format: Literal[1] = 1
    form: Form
    study: str
    run_id: str
    seed: int
    learning_rate: float
    backbone: BackboneFacts
    task: Part
    method: Part
    data: DataFacts
    head: Head | None = None
    """The head that the backbone grew for the task."""
    kind: BackboneKind | None = None
    """The backbone's kind, as the task saw it: an encoder that writes is saved as a pair."""
    room: int | None = None
    """Most tokens that the backbone reads; None where there is no bound."""
    classes: list[str]
    max_length: int | None
    training: dict[str, Any]
    versions: dict[str, str]
    created_at: str

    @property
    def precision(self) -> str:
        """Arithmetic of the forward pass."""
        return str(self.training.get("precision", "fp32"))

    def make_method(self) -> Method:
        """The method with the run's settings."""
        made: Method = registry.get("methods", self.method.part)(**self.method.settings)
        return made

    def make_task(self) -> Task:
        """The task with the run's settings."""
        made: Task = registry.get("tasks", self.task.part)(**self.task.settings)
        return made

    def backbone_options(self, path: str | None = None) -> BackboneOptions:
        """How to load the backbone, from another place when `path` is given."""
        from tuneoff.backbones.backbone import BackboneOptions

        return BackboneOptions(model=path or self.backbone.path, **self.backbone.options)

    def write(self, folder: Path) -> None:
        """Writes `tuneoff.json` into a folder."""
        write_whole(folder / FILE, self.model_dump_json(indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a saved model.

    Raises BackboneError when the folder holds none, or one of another version of tuneoff.
    """
    path = folder / FILE
    try:
        return Manifest.model_validate_json(path.read_text("utf-8"))
    except OSError:
        found = (path.parent.name for path in folder.glob(f"*/{FILE}"))
        inside = sorted(name for name in found if name != "merged")
        hint = (
            f"it holds one folder per contest; name one of them: {', '.join(inside)}"
            if inside
            else "give the folder that `tuneoff export` wrote, e.g. runs/quickstart/winner"
        )
        raise BackboneError(f"{folder} has no {FILE}: {hint}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BackboneError(
            f"{path}: {place or 'the file'}: {first['msg']}; it was written by another version of "
            "tuneoff, or changed; export the winner again"
        ) from None


def kept_options(options: BackboneOptions) -> dict[str, Any]:
    """What of the options changes numbers; a cache of dequantized weights does not."""
    kept = asdict(options)
    for name in ("model", "dequantized_cache_gb"):
        kept.pop(name)
    return kept


def weights_hash(model: str, revision: str | None = None) -> str:
    """Hash of a backbone's weight files, whatever their folder is called.

    Raises BackboneError when there are none.
    """
    from tuneoff.data.digest import digest, file_digest

    folder = folder_of(model) or _hub_folder(model, revision)
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    files = [file for file in files if not file.name.startswith(("adapter_", "training_"))]
    if not files:
        raise BackboneError(f"backbone {model!r}: {folder} holds no weight files")
    return digest([file_digest(file) for file in files])


def _hub_folder(model: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, ValueError, OSError) as error:
        raise BackboneError(
            f"backbone {model!r} is neither a folder nor in the local hub cache. On a machine with "
            f"network: `hf download {model}`, then copy the folder here and name its path"
        ) from error


def portable(model: str) -> str:
    """The backbone's place as it can be found from anywhere: folders absolute."""
    if model in builtin_names():
        return model
    folder = folder_of(model)
    return model if folder is None else str(folder.absolute())

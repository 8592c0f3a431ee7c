"""Datasets of the Hugging Face hub, by name; without a network, those that are cached.

data: {dataset: hub, name: nyu-mll/glue, config: mrpc, test: validation,
       columns: {text: sentence1, text_pair: sentence2}}
"""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tuneoff.datasets import Dataset, Rows
from tuneoff.datasets._library import chosen_splits, library_rows
from tuneoff.errors import DataError

_SECONDS_TO_ANSWER = 3.0


class Hub(Dataset):
    """A dataset by its hub name. Cached copies are used; nothing is sent but the request."""

    name: str
    """Its name on the hub, e.g. `stanfordnlp/imdb`."""
    config: str | None = None
    """Its configuration, where it has several, e.g. `mrpc` of `nyu-mll/glue`."""
    revision: str | None = None
    """Branch, tag or commit; a commit makes sure that nobody changes it under you."""
    train: str = "train"
    """The hub's split to learn from."""
    validation: str | None = None
    """The hub's split to choose by; `validation` or `dev` if there is one, else made from train."""
    test: str | None = None
    """The hub's split to judge by; `test` if there is one, else made from train. Some hub
    datasets keep their test labels secret: name `validation` here then."""

    @property
    def title(self) -> str:
        return f"{self.name} ({self.config})" if self.config else self.name

    def load(self) -> Mapping[str, Rows]:
        loaded = self._loaded()
        wanted = {"train": self.train, "validation": self.validation, "test": self.test}
        chosen = chosen_splits(list(loaded), wanted, self.title)
        return {
            split: library_rows(loaded[name], f"{self.title} {name}")
            for split, name in chosen.items()
        }

    def _loaded(self) -> Any:
        import datasets

        online = _reachable()
        try:
            with _offline(not online):
                return datasets.load_dataset(self.name, self.config, revision=self.revision)
        except datasets.exceptions.DatasetNotFoundError as error:
            raise DataError(
                f"{self.title}: the hub has no such dataset, or it is not open to all ({error}). "
                "Check the name; for a gated one log in with `hf auth login`"
            ) from None
        except (OSError, ValueError, RuntimeError) as error:
            if online:
                raise DataError(f"{self.title} cannot be loaded: {_first_line(error)}") from None
            raise DataError(self._not_cached(error)) from None

    def _not_cached(self, error: Exception) -> str:
        arguments = [repr(self.name)]
        if self.config:
            arguments.append(repr(self.config))
        if self.revision:
            arguments.append(f"revision={self.revision!r}")
        code = f"from datasets import load_dataset; load_dataset({', '.join(arguments)})"
        save = f"{code}.save_to_disk('{self.name.split('/')[-1]}')"
        return (
            f"{self.title} is not in the cache, and the hub cannot be reached "
            f"({_first_line(error)}).\nEither, on a machine with a network:\n"
            f'    python -c "{save}"\n'
            f"copy the folder {self.name.split('/')[-1]} here and write\n"
            f"    data: {{dataset: disk, path: {self.name.split('/')[-1]}}}\n"
            "or take a file of your own: `dataset: csv`, `json`, `jsonl`, `parquet`"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _reachable() -> bool:
    """Whether the hub answers. The library's own answer takes half a minute of retries."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():
        return True  # a proxy must be asked; the library does
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), _SECONDS_TO_ANSWER).close()
    except OSError:
        return False
    return True


@contextmanager
def _offline(on: bool) -> Iterator[None]:
    """The libraries' own offline mode, in which they look into their caches only."""
    import datasets.config
    from huggingface_hub import constants

    before = (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
    if on:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before

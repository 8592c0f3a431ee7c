"""Replies of judges on disk: one small file each, so that a score can be had again without asking.

A reply is known by model, prompt, number of the sample, temperature and length limit. Files appear
whole or not at all, so several processes may share the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tuneoff.data.cache import cache_folder
from tuneoff.errors import DataError


class Replies:
    """The replies to one judge's questions."""

    def __init__(self, folder: str | None, **asker: Any):
        """asker: what else decides a reply: model, temperature, max_tokens.

        Raises DataError when the folder cannot be written.
        """
        self.folder = Path(folder).expanduser() if folder else cache_folder() / "judge"
        self._asker = asker
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise DataError(
                f"cannot write the judge's replies to {self.folder} ({error}); set `cache` to a "
                "folder that can be written"
            ) from error

    def get(self, prompt: str, sample: int) -> str | None:
        """The reply; None where there is none, or its file is damaged."""
        try:
            found = json.loads(self._path(prompt, sample).read_text("utf-8"))["reply"]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return found if isinstance(found, str) else None

    def put(self, prompt: str, sample: int, reply: str) -> None:
        """Keeps a reply, with all that is needed to read it without us."""
        path = self._path(prompt, sample)
        path.parent.mkdir(exist_ok=True)
        content = {**self._asker, "sample": sample, "prompt": prompt, "reply": reply}
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".reply-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)
        Path(temporary).replace(path)

    def _path(self, prompt: str, sample: int) -> Path:
        key = json.dumps([self._asker, prompt, sample], sort_keys=True)
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.json"

"""Forward passes of a cohort: the backbone with its members' hooks on, over cached or fresh
prefixes, in the precision that the study asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from tuneoff.backbones.attach import attach
from tuneoff.backbones.families import family_of
from tuneoff.backbones.padded import Padded
from tuneoff.study import Training
from tuneoff.training.layout import Layout, Pool
from tuneoff.training.member import Member
from tuneoff.training.outcome import Limits, Material
from tuneoff.training.prefix import PrefixCache, entry_of, find_entrance

_LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Passes:
    """The members' hooks hang on the backbone from `carry` on, until others are carried."""

    def __init__(
        self, material: Material, members: Sequence[Member], training: Training, limits: Limits
    ):
        self.material, self.limits, self.training = material, limits, training
        backbone = material.backbone
        self.family: Any = family_of(backbone)
        self.entry = 0
        self.uncached: str | None = None
        """Why a frozen prefix is not cached, where it should be; the end of a sentence."""
        lowest = min(member.lowest_block for member in members)
        caches = training.cache_frozen_prefix and members[0].whole is None
        if self.family is not None and caches:
            self.entry = min(entry_of(lowest, self.family.blocks), self.family.deepest)
        if self.family is None:
            self.family = Padded(backbone)
        if members[0].whole is not None:
            assert len(members) == 1, "a method that rewrites the model is trained alone"
            self.family = members[0].whole.family()
        self.family.gradient_checkpointing = training.gradient_checkpointing
        for site in backbone.sites.values():
            replaced = all(getattr(m.hooks.get(site.name), "replaces", False) for m in members)
            site.lower(None if replaced else _LOW.get(training.precision))
        self.carry(members)
        if self.padded and caches and lowest > 0:
            with self.precision():
                self.uncached = find_entrance(self.family, lowest, material.features["train"])
            entrance = self.family.entrance
            self.entry = 0 if entrance is None else entrance.place
        self._place = None
        if self.entry > 0:
            self._place = (self.entry, self.family.kept_at(self.entry), training.precision)
        material.prefixes.at(self._place)

    @property
    def padded(self) -> bool:
        """True where the backbone has no padding-free forward."""
        return isinstance(self.family, Padded)

    @property
    def reads(self) -> Pool:
        """Which rows the head reads."""
        reads: Pool = self.family.reads
        return reads

    @property
    def count(self) -> int:
        """Members carried."""
        return len(self.members)

    def carry(self, members: Sequence[Member]) -> None:
        """Hang these members' hooks on the backbone."""
        self.members = list(members)
        attach(self.material.backbone, [member.hooks for member in self.members])

    def set_training(self, training: bool) -> None:
        """Dropout inside hooks on or off; the backbone's own follows the layout's streams."""
        for member in self.members:
            member.set_training(training)

    def cache(self, split: str) -> PrefixCache | None:
        """The split's cached prefix, built when first asked for; None where there is none."""
        if self.entry == 0:
            return None
        caches, features = self.material.prefixes.at(self._place), self.material.features[split]
        if split not in caches or caches[split].features is not features:
            backbone = self.material.backbone
            carried = self.members
            attach(backbone, [])
            with self.precision():
                caches[split] = PrefixCache(
                    backbone,
                    self.family,
                    features,
                    self.entry,
                    self.limits.prefix_cache_bytes,
                )
            self.carry(carried)
        return caches[split]

    def logits(self, layout: Layout, split: str) -> Tensor:
        """(R, C) for the layout's rows of a split."""
        cache = self.cache(split)
        with self.precision():
            if cache is None:
                logits: Tensor = self.family.forward(layout)
            else:
                logits = self.family.forward(layout, cache.take(layout), self.entry)
        return logits

    @contextmanager
    def scaled(self, share: float) -> Iterator[None]:
        """Within: the model lies between the original (0) and the trained one (1). New heads stay
        as they were trained."""
        whole = self.members[0].whole
        sites = [site for site in self.material.backbone.sites.values() if not site.is_head]
        for site in sites:
            site.share = share
        try:
            with nullcontext() if whole is None else whole.scaled(share):
                yield
        finally:
            for site in sites:
                site.share = 1.0

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast for bf16 and fp16; fp32 and tf32 need none."""
        dtype = _LOW.get(self.training.precision)
        if dtype is None:
            return nullcontext()
        return torch.autocast(self.material.backbone.device.type, dtype=dtype)

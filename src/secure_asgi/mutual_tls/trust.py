"""Interim."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from cryptography.x509 import Certificate

from .path import VerifiedPath

Anchor = str | os.PathLike[str] | bytes | Certificate
Anchors = Anchor | Iterable[Anchor]


class TrustAnchors:
    generation = 0

    def __init__(self, given: Anchors | Mapping[str, Anchors]) -> None: ...
    def look(self) -> None: ...
    def verify(self, leaf: Certificate, intermediates: Sequence[Certificate], at: datetime) -> VerifiedPath: ...
    async def start(self) -> None: ...

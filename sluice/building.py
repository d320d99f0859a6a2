"""The settings of packaging and building: what is let through, who signs, and what extends a base.

In `sluice.toml`:

```toml
registry = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/sluice"  # images go to <registry>/<model>
platform = "linux/amd64"            # of a base that is there for several
compression = "none"                # of the layers that are made: none, gzip, zstd

[ecr]                               # what a repository is like that is made; one that is there is left as it is
kms_key = "alias/models"
untagged_days = 30                  # after which images without a tag are deleted; try the policy first

[policy]
refuse = "danger"                   # findings of a scan from which on nothing is packaged: note, warning, danger, never

[signing]
key = "awskms:///alias/sluice"      # or a file with a private key; its password is in SLUICE_SIGNING_PASSWORD
trusted = ["keys/sluice.pub"]       # whose signatures `sluice verify --image` takes

[buildkit]
tool = "buildctl"                   # or buildah
command = ["buildctl-daemonless.sh"]
```
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from registry.facts import Severity


class Ecr(BaseModel):
    """What an ECR repository is like that is made; its tags never move."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scan_on_push: bool = True
    kms_key: str = ""
    tags: Mapping[str, str] = {}
    untagged_days: PositiveInt | None = None


class Policy(BaseModel):
    """What is let through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    refuse: Severity | Literal["never"] = Severity.DANGER

    @property
    def refused(self) -> Severity | None:
        """The severity from which on findings are refused, None where none is."""
        return self.refuse if isinstance(self.refuse, Severity) else None


class Signing(BaseModel):
    """Who signs images, and whose signatures count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = ""
    """`awskms:///…` or a file; "" where images are not signed."""
    trusted: tuple[Path, ...] = ()
    """Files with public keys."""


class BuildKit(BaseModel):
    """What extends a base image by what a model needs more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: Literal["buildctl", "buildah"] = "buildctl"
    command: tuple[str, ...] = Field(default=(), max_length=8)
    """How it is started, with options if need be; the tool's name where this is empty."""
    timeout: PositiveInt = 3600
    """Seconds that extending one base may take."""

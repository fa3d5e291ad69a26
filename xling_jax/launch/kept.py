"""A run's work folder between this machine and the bucket, both ways.

A run on one host keeps its folder in one of two in the bucket, and says which is whole (`scripts/tpu_host.sh`). One
that works in the bucket itself has no such pair.
"""

import dataclasses
import pathlib
import tempfile

from xling_jax.errors import ConfigError
from xling_jax.launch import commands
from xling_jax.launch.gcloud import CloudError, Gcloud


@dataclasses.dataclass
class Kept:
    """The folder of a run in the bucket, `folder`, and its work folder if that is itself a bucket's."""

    folder: str
    workdir: str
    cloud: Gcloud

    def down(self, local: pathlib.Path) -> None:
        """Copies the work folder here; what is here alone stays."""
        source = self.workdir
        if not source.startswith("gs://"):
            side = self._whole()
            if not side:
                raise ConfigError(f"{self.folder} holds no work folder yet. Allowed: a run that was started.")
            source = f"{self.folder}/workdir/{side}"
        local.mkdir(parents=True, exist_ok=True)
        self.cloud(commands.sync(source, str(local)), f"copy {source} to {local}")

    def up(self, local: pathlib.Path) -> None:
        """Puts a work folder of this machine into the bucket, from where the next start goes on."""
        if not local.is_dir():
            raise ConfigError(f"There is no folder {local}. Allowed: a work folder, to go on from.")
        if self.workdir.startswith("gs://"):
            self.cloud(commands.sync(str(local), self.workdir), f"copy {local} to {self.workdir}")
            return
        side = "b" if self._whole() == "a" else "a"
        target = f"{self.folder}/workdir/{side}"
        self.cloud(commands.sync(str(local), target, exactly=True), f"copy {local} to {target}")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "whole"
            path.write_text(side, encoding="utf-8")
            self.cloud(commands.upload(str(path), f"{self.folder}/workdir/whole"), "say which folder is whole")

    def _whole(self) -> str:
        try:
            return self.cloud(commands.show(f"{self.folder}/workdir/whole"), "ask which folder is whole").strip()
        except CloudError as error:
            if error.kind != "absent":
                raise
            return ""

"""What the hosts of a run tell each other: short texts by name, kept where all of them meet."""

from typing import Any

import jax


class Store:
    """The key-value store of JAX's coordination service, which runs in host 0."""

    def __init__(self, client: Any):
        """Takes the client that `jax.distributed.initialize` has made."""
        self._client = client

    def tell(self, name: str, text: str) -> None:
        """Keeps a text under a name, in place of what was there."""
        self._client.key_value_set(name, text, allow_overwrite=True)

    def hear(self, name: str, seconds: float) -> str | None:
        """Returns the text under a name as soon as there is one, None if there is none after so many seconds."""
        try:
            return self._client.blocking_key_value_get(name, max(1, int(1000 * seconds)))
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" in str(error) or "NOT_FOUND" in str(error):
                return None
            raise

    def all(self, folder: str) -> dict[str, str]:
        """Returns the texts whose names begin with "folder/", by the rest of their names."""
        return {name.rpartition(f"{folder}/")[2]: text for name, text in self._client.key_value_dir_get(f"{folder}/")}

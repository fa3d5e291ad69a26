"""What gcloud would answer if all went well: dry runs print each command by the code that runs it."""

from collections.abc import Sequence

from xling_jax.launch.commands import Command
from xling_jax.launch.gcloud import CloudError, Gcloud
from xling_jax.launch.job import MARK
from xling_jax.launch.request import Request


class Pretending(Gcloud):
    """Prints commands and runs none. Slices are there once asked for, and a run is done once it is started."""

    def __init__(self, say, request: Request | None, there: bool):
        super().__init__(say, shown=True)
        self.request, self.there, self.started = request, there, False

    def side_by_side(self, commands: Sequence[Command], doing: str) -> list[str]:
        """Returns made-up answers; CloudError for what is not there."""
        for command in commands:
            self._show(command)
        return [self._answer(command) for command in commands]

    def passed_on(self, command: Command) -> int:
        """Prints a command."""
        self._show(command)
        return 0

    def _answer(self, command: Command) -> str:
        kind = command.kind
        if kind == "create":
            self.there = True
        if kind in ("describe", "describe_node", "delete") and not self.there:
            raise CloudError(f"{command.argv[-1]} is not there.", "absent")
        if kind == "delete":
            self.there = False
        self.started = self.started or kind == "start"
        hosts = self.request.slice.hosts if self.request else 1
        state = "ended 0 done" if self.started else "absent 0"
        answers = {
            "describe": '{"state": {"state": "ACTIVE"}}',
            "show": "a",
            "describe_node": '{"state": "READY"}',
            "status": "\n".join(f"{MARK} host-{number} - {state}" for number in range(hosts)),
        }
        return answers.get(kind, "")

"""Command-line flags of the doors, by absl and ml_collections."""

import contextlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

from absl import flags
from ml_collections import config_flags

from xling_jax.disk import on_disk
from xling_jax.errors import ConfigError, DataError
from xling_jax.experiment import Experiment, from_config
from xling_jax.study import Study, is_study, study_from_config


def parse(values: flags.FlagValues, verb: str, argv: list[str], about: str) -> list[str]:
    """Parses a verb's arguments and returns those that are not flags; ConfigError for what is not allowed."""
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
    try:
        rest = values([f"xling {verb}", *argv])[1:]
    except flags.Error as error:
        raise ConfigError(f"{error}.\n`xling {verb} --help` lists the flags.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        asked = [word.split("=")[0] for word in argv if word.startswith("--config.")]
        raise ConfigError(
            f"{' '.join(asked) or '--config'} does not fit the config: {_first_words(error)}\n"
            "Allowed: --config.FIELD=VALUE for the fields that the config file sets; all fields are declared in "
            "xling_jax/experiment.py."
        ) from error
    if values["help"].value:
        print(f"{about}\n\nFlags:{values.get_help(include_special_flags=False)}")
        raise SystemExit(0)
    return rest


def _first_words(error: Exception) -> str:
    """Returns an error's message on one line."""
    said = error.args[0] if error.args else str(error)
    while isinstance(said, Exception):
        said = said.args[0] if said.args else str(said)
    return " ".join(str(said).replace("\\n", " ").split()).replace("'", "").replace('"', "").replace("\\", "")


def experiment(values: flags.FlagValues) -> Experiment:
    """Returns the experiment that --config declares; ConfigError for what does not load or is not known."""
    fields = _fields(values)
    if is_study(fields):
        raise ConfigError(
            f"--config declares a study, '{fields.get('name', '')}', and this verb takes one experiment.\n"
            "Allowed: xling study --config=... --workdir=DIR, which runs all of its experiments; --dry_run says what "
            "they need and cost."
        )
    return from_config(fields)


def study(values: flags.FlagValues) -> Study:
    """Returns the study that --config declares; errors as those of `experiment`."""
    fields = _fields(values)
    if not is_study(fields):
        raise ConfigError(
            f"--config declares one experiment, '{fields.get('name', '')}', and no study.\n"
            "Allowed: xling run --config=... --workdir=DIR, which runs it; a study has `experiments`."
        )
    return study_from_config(fields)


def _fields(values: flags.FlagValues) -> dict[str, Any]:
    config = required(values, "config")
    try:
        return config.to_dict()
    except OSError as error:  # ml_collections keeps the failure to itself until the config is used
        last = str(error).strip().splitlines()[-1].strip()
        raise ConfigError(
            f"--config does not load: {last}.\n"
            "Allowed: a Python file with get_config(), as FILE or FILE:ARG; those of the project are in configs/."
        ) from error


def define_workdir(values: flags.FlagValues) -> None:
    """Defines --workdir and --data_dir."""
    flags.DEFINE_string("workdir", None, "Folder of the run; made if it is not there.", flag_values=values)
    define_data_dir(values)


def define_trials(values: flags.FlagValues) -> None:
    """Defines --trials."""
    about = (
        "Stages of one shape, seeds or learning rates, that are trained as one program: several seeds of a small model "
        "share a device, or have one each. Results differ by rounding. On one host, and on meshes of data alone."
    )
    flags.DEFINE_integer("trials", 1, about, lower_bound=1, flag_values=values)


def define_data_dir(values: flags.FlagValues) -> None:
    """Defines --data_dir, by default what XLING_DATA says."""
    flags.DEFINE_string(
        "data_dir",
        os.environ.get("XLING_DATA"),
        "Folder of the published data files; XLING_DATA if not given.",
        flag_values=values,
    )


def define_config(values: flags.FlagValues, argv: list[str]) -> None:
    """Defines --config=FILE[:ARG] and its --config.field=value overrides."""
    config_flags.DEFINE_config_file("config", None, "Config file, FILE or FILE:ARG.", flag_values=values, sys_argv=argv)


def required(values: flags.FlagValues, name: str) -> Any:
    """Returns a flag's value; ConfigError if it was not given."""
    value = values[name].value
    if value is None:
        raise ConfigError(f"--{name} is not given.\nAllowed: --{name}=..., see --help.")
    return value


def data_dir(values: flags.FlagValues) -> pathlib.Path | None:
    """Returns the data folder, or None if none is named. Raises DataError if there is no such folder."""
    path = named_data_dir(values)
    if path and not path.is_dir():
        raise DataError(
            f"There is no data folder {path}.\n"
            "Allowed: the folder that holds the published files; `xling data doctor` names them.\n"
            "It is named by --data_dir or the environment variable XLING_DATA."
        )
    return path


def named_data_dir(values: flags.FlagValues) -> pathlib.Path | None:
    """Returns what the flag names, there or not."""
    value = values["data_dir"].value
    return on_disk(value) if value else None


def define_hosts(values: flags.FlagValues) -> None:
    """Defines --coordinator, --hosts, --host, by default what XLING_COORDINATOR ... say, and --host_timeout."""
    texts = {
        "coordinator": "HOST:PORT of host 0, where the hosts of a run meet; a TPU pod finds it by itself.",
        "hosts": "How many there are.",
        "host": "Which of them this is, from 0 on.",
    }
    for name, about in texts.items():
        said = os.environ.get(f"XLING_{name.upper()}")
        define = flags.DEFINE_string if name == "coordinator" else flags.DEFINE_integer
        define(name, said, f"{about} XLING_{name.upper()} if not given.", flag_values=values)
    about = "Seconds to wait for a host that does not come, or says nothing new."
    flags.DEFINE_float("host_timeout", 600.0, about, lower_bound=1.0, flag_values=values)


def joined(values: flags.FlagValues, stop_asked: Callable[[], bool]) -> contextlib.AbstractContextManager[None]:
    """Returns what joins the hosts that the flags name, for a block; ConfigError if they name them in part."""
    from xling_jax.partitioning import hosts  # noqa: PLC0415 - imports JAX

    named: dict[str, Any] = {name: values[name].value for name in ("coordinator", "hosts", "host")}
    given = {name: value for name, value in named.items() if value is not None}
    if 0 < len(given) < 3 and given != {"hosts": 1}:
        missing = " ".join(f"--{name}" for name in named if name not in given)
        raise ConfigError(
            f"{' '.join(f'--{name}={value}' for name, value in given.items())} is given without {missing}.\n"
            "Allowed: all three of them on every host, or none where there is one host or a TPU pod."
        )
    address = hosts.Address(**given) if len(given) == 3 else None
    return hosts.joined(address, required(values, "host_timeout"), stop_asked)

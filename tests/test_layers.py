"""Imports point down. HOUSE says who may import whom; every module of the package belongs to a group of it.

Imports inside functions count too: a lazy import saves time, and changes nothing about who depends on whom.
"""

import ast
import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Group:
    """Modules by name, the groups they may import besides their own, and the limits on packages from outside."""

    name: str
    modules: str
    may_import: str
    outside: str | None = None  # None: whatever setup.py requires


_ROWS = (
    # Layer 0: words.
    Group("package", "xling_jax", "", outside=""),
    Group(
        "words",
        "axes bucket checks disk errors experiment flops goodput heap language_sets ledger mixing optim processes "
        "protocol recipes results scoring selection study tables typology world",
        "",
        outside="numpy etils fsspec",  # the last two in bucket.py, which who works on a disk does not import
    ),
    # Layer 1: parts.
    Group("data", "data", "words"),
    Group("models", "models", "words", outside="flax jax numpy tensorstore"),
    Group("partitioning", "partitioning", "words", outside="flax jax numpy"),
    # Layer 2: motion.
    Group("train", "train", "words partitioning"),
    Group("eval", "eval", "words partitioning"),
    # Layer 3: the joint.
    Group("convert", "convert", "words data models partitioning train"),
    Group("stages", "stages", "words data models partitioning train eval"),
    # It compiles what stages run, and no copy of it: so it stands on them.
    Group("planner", "planner", "words data models partitioning train eval stages"),
    # Beside.
    Group("report", "report", "words", outside="matplotlib numpy rich scipy"),
    # Beside, too: it runs where nothing is installed.
    Group("launch", "launch", "words", outside=""),
    # Layer 4: doors.
    Group("doors", "__main__ cli doors", "words data models partitioning train eval convert stages planner report"),
    Group("t5x_bridge", "t5x_bridge", "words data"),
)

HOUSE = {row.name: row for row in _ROWS}
PACKAGE = "xling_jax"
# Many seconds to import, and absent on most accelerator machines: who may import them, inside functions.
SLOW = {
    "seqio": {f"{PACKAGE}.data.register", f"{PACKAGE}.data.prepare", f"{PACKAGE}.data.text_tasks"},
    "tensorflow": {f"{PACKAGE}.data.register", f"{PACKAGE}.data.prepare", f"{PACKAGE}.data.text_tasks"},
    "tensorflow_datasets": {f"{PACKAGE}.data.tfds"},
}
ACCELERATOR = {"flax", "jax", "jaxlib", "optax", "orbax"}
ADVICE = "Take a value or a function instead, or change HOUSE in tests/test_layers.py."


@dataclasses.dataclass(frozen=True)
class Import:
    """One module's import of another; `lazy` says it happens inside a function."""

    importer: str
    imported: str
    line: int
    lazy: bool

    @property
    def top(self) -> str:
        return self.imported.split(".")[0]


def modules(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns all modules of the package below `root`, by dotted name."""
    paths = sorted((root / PACKAGE).rglob("*.py"))
    names = (path.relative_to(root).with_suffix("").parts for path in paths)
    return {
        ".".join(name[:-1] if name[-1] == "__init__" else name): path for name, path in zip(names, paths, strict=True)
    }


def group_of(module: str) -> Group | None:
    """Returns the group a module belongs to, by the first part of its name below the package."""
    part = module.removeprefix(PACKAGE).lstrip(".").split(".")[0] or PACKAGE
    return next((row for row in _ROWS if part in row.modules.split()), None)


def nodes(tree: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Yields all nodes below `tree`, each with whether it lies inside a function."""
    for node in ast.iter_child_nodes(tree):
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield node, lazy
        yield from nodes(node, inside)


def named_in(node: ast.AST, package: list[str], known: Iterable[str]) -> list[str]:
    """Returns the modules a node imports: for `from a import b` that is a.b where there is one, and a otherwise."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            return [name if (name := f"{source}.{alias.name}") in known else source for alias in node.names]
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return [name]
    return []


def imports(root: pathlib.Path) -> list[Import]:
    """Returns every import statement of the package, one entry for each module named."""
    paths = modules(root)
    known = {".".join(parts[:end]) for parts in (name.split(".") for name in paths) for end in range(1, len(parts) + 1)}
    found = []
    for module, path in paths.items():
        package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        for node, lazy in nodes(ast.parse(path.read_text(encoding="utf-8"))):
            line = getattr(node, "lineno", 0)
            found += [Import(module, name, line, lazy) for name in named_in(node, package, known)]
    return found


def objection(edge: Import) -> str | None:
    """Returns why an import is not allowed, or None where it is."""
    importer, imported = group_of(edge.importer), group_of(edge.imported)
    if importer is None:
        return f"{edge.importer} belongs to no group"
    if edge.top == PACKAGE:
        allowed = {importer.name, "package", *importer.may_import.split()}
        if imported is None:
            return f"{edge.imported} belongs to no group"
        return None if imported.name in allowed else f"{importer.name} may import {' '.join(sorted(allowed))}"
    if edge.top in SLOW and not (edge.importer in SLOW[edge.top] and edge.lazy):
        return f"{edge.top} may be imported only inside functions of {' and '.join(sorted(SLOW[edge.top]))}"
    if edge.top in sys.stdlib_module_names or importer.outside is None or edge.top in importer.outside.split():
        return None
    return f"{importer.name} may import from outside: {importer.outside or 'nothing'}"


def objections(root: pathlib.Path) -> list[str]:
    homeless = [f"{module} belongs to no group" for module in modules(root) if group_of(module) is None]
    wrong = [(edge, why) for edge in imports(root) if (why := objection(edge))]
    return homeless + [f"{edge.importer}:{edge.line} imports {edge.imported}; {why}" for edge, why in wrong]


def reached(root: pathlib.Path, start: str) -> set[str]:
    """Returns all that importing and using the modules below `start` can import, the packages on the way included."""
    edges, todo, seen = imports(root), [name for name in modules(root) if f"{name}.".startswith(f"{start}.")], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo += [edge.imported for edge in edges if edge.importer == name]
        todo += [name.rpartition(".")[0]] if "." in name else []
    return seen


def tops(names: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_the_house_is_a_house():
    """Groups only name groups, and no two of them import each other."""
    for row in _ROWS:
        assert set(row.may_import.split()) <= set(HOUSE), row.name
        for below in row.may_import.split():
            assert row.name not in HOUSE[below].may_import.split(), f"{row.name} and {below} import each other"


def test_imports_point_down():
    wrong = objections(ROOT)
    assert not wrong, "\n".join([*wrong, ADVICE])


def test_the_report_needs_no_jax():
    assert tops(reached(ROOT, f"{PACKAGE}.report")) & (ACCELERATOR | set(SLOW)) == set()


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.cli", f"{PACKAGE}.t5x_bridge"])
def test_the_door_opens_at_once(module):
    heavy = sorted(ACCELERATOR | set(SLOW) | {"numpy", "matplotlib", "grain", "ml_collections"})
    program = f"import sys, {module}; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == [], f"`import {module}` imports these"


def write_tree(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    for name, text in files.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


SOUND = {
    "__init__.py": "",
    "errors.py": "import re\nimport numpy as np",
    "tables/__init__.py": "",
    "tables/tasks.py": "from ..errors import XlingError\nfrom . import kinds",
    "tables/kinds.py": "",
    "data/register.py": "from xling_jax.tables import tasks\ndef register():\n    import seqio",
    "models/build.py": "import flax.linen as nn",
    "train/loop.py": "import optax\nfrom xling_jax.partitioning import mesh",
    "partitioning/mesh.py": "import jax",
    "report/render.py": "import xling_jax.tables.tasks",
}


def test_a_sound_tree_passes(tmp_path):
    assert objections(write_tree(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (
            "errors.py",
            "from xling_jax.models import build",
            "xling_jax.errors:1 imports xling_jax.models.build; words may",
        ),
        ("errors.py", "def f():\n    from xling_jax import models", "xling_jax.errors:2 imports xling_jax.models"),
        (
            "errors.py",
            "import importlib\nimportlib.import_module('xling_jax.train.loop')",
            "imports xling_jax.train.loop",
        ),
        ("errors.py", "import jax", "words may import from outside: numpy"),
        ("tables/kinds.py", "from ..train import loop", "xling_jax.tables.kinds:1 imports xling_jax.train.loop"),
        ("train/loop.py", "if TYPE_CHECKING:\n    import xling_jax.models.build", "train may import"),
        ("eval/mean.py", "import xling_jax.train.loop", "eval may import"),
        ("models/build.py", "import xling_jax.data.register", "models may import"),
        ("report/render.py", "import xling_jax.train.loop", "report may import"),
        ("data/register.py", "import seqio", "only inside functions of"),
        ("data/sources.py", "def f():\n    import tensorflow as tf", "only inside functions of"),
        (
            "data/register.py",
            "def f():\n    import tensorflow_datasets",
            "only inside functions of xling_jax.data.tfds",
        ),
        ("data/tfds.py", "import tensorflow_datasets", "only inside functions of"),
        ("utils.py", "", "xling_jax.utils belongs to no group"),
    ],
)
def test_an_upward_import_is_caught(tmp_path, name, text, complaint):
    (wrong,) = objections(write_tree(tmp_path, SOUND | {name: text}))
    assert complaint in wrong


def test_jax_is_seen_from_afar(tmp_path):
    tree = write_tree(tmp_path, SOUND)
    assert not tops(reached(tree, f"{PACKAGE}.report")) & ACCELERATOR
    write_tree(tmp_path, {"tables/__init__.py": "def f():\n    import jax"})
    assert "jax" in tops(reached(tree, f"{PACKAGE}.report"))


def test_test_modules_have_names_of_their_own():
    """Folders of tests are no packages, so two modules of one name cannot be collected together."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []

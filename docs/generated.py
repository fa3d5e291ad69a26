"""What the site has that no file of docs/ holds: README, changes, configs, the reference, and the files pages link to.

MkDocs calls the functions named on_*. Pages are written for the repository, where they are read as well: a link leads
to a file of it. Here a link to a page becomes one to that page, a link to another file one to a page that shows it, and
a link to a folder its words.
"""

import ast
import contextlib
import importlib.util
import io
import os
import pathlib
import re
import tokenize

from mkdocs.structure.files import File

from xling_jax.cli import VERBS, main, usage
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.slices import SLICES

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPIED = {
    "index.md": "README.md",
    "changes.md": "CHANGELOG.md",
    "configs.md": "configs/README.md",
    "notebooks.md": "notebooks/README.md",
}
WHOLE_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
FENCES = {".py": "python", ".json": "json", ".sh": "bash", ".yml": "yaml", ".gin": "python"}
LONGEST = 40_000  # characters of a file that a page shows; results of measurements are longer

# What other programs may want to import, a section each; modules of xling_jax.
MODULES = {
    "Scores and statistics": "scoring.metrics report.statistics report.claims report.power report.curves report.pareto",
    "Tasks and data": "tables.tasks data.sources data.register data.prepare data.batches",
    "Models": "models.build models.encoder models.seq2seq models.decoder models.heads",
    "Training and evaluation": "train.losses train.optimizer train.step train.checkpoint eval.predict",
    "Experiments": "experiment study results mixing language_sets errors",
}
# Modules whose dataclasses are the fields of configs, but those in the second place.
OPTIONS = {"experiment": "Part", "mixing": "", "optim": "", "selection": "SourceDev", "protocol": "", "study": ""}


def on_files(files, config):
    """Adds the generated pages, and one for each file that a page links to."""
    made = {uri: read(source) for uri, source in COPIED.items()}
    made |= {f"reference/{make.__name__}.md": make() for make in (commands, options, tables, python)}
    made = {uri: text for uri, text in made.items() if files.get_file_from_path(uri) is None}
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    pages = {file.src_uri: file.content_string for file in files.documentation_pages()}
    linked = {target for uri, text in pages.items() for _, target, _ in links(uri, text)}
    for source in sorted(linked):
        if not source.startswith("docs/") and source not in COPIED.values() and (ROOT / source).is_file():
            how = {"abs_src_path": str(ROOT / source)} if picture(source) else {"content": shown(source)}
            files.append(File.generated(config, in_site(source), **how))
    return files


def on_page_markdown(markdown, page, config, files):
    """Returns a page's text with links that lead where the site has what they mean."""
    here = pathlib.PurePosixPath(page.file.src_uri).parent

    def replace(found):
        words, target = (
            WHOLE_LINK.sub(replace, found[1]),
            in_repository(page.file.src_uri, found[2]),
        )  # a picture inside
        anchor = found[3] or ""
        if (ROOT / target).is_dir():
            return f"{words} (`{target}`)"
        return f"[{words}]({os.path.relpath(in_site(target), here)}{anchor})"

    return WHOLE_LINK.sub(replace, markdown)


def links(uri, text):
    """Yields (words, file of the repository, anchor) of a page's links."""
    for words, target, anchor in WHOLE_LINK.findall(text):
        yield words, in_repository(uri, target), anchor
        yield from links(uri, words)


def in_repository(uri, target):
    """Returns the file of the repository that a link of a page leads to."""
    source = COPIED.get(uri, f"docs/{uri}")
    return os.path.normpath(pathlib.PurePosixPath(source).parent / target)


def in_site(source):
    """Returns the page of the site that shows a file of the repository."""
    copied = {path: uri for uri, path in COPIED.items()}
    if source in copied or source.startswith("docs/"):
        return copied.get(source) or source.removeprefix("docs/")
    return f"files/{source}" if picture(source) else f"files/{source}.md"


def picture(source):
    """Whether a file is a picture, which pages show as it is."""
    return source.endswith((".svg", ".png"))


def read(source):
    """Returns the text of a file of the repository."""
    return (ROOT / source).read_text(encoding="utf-8")


def shown(source):
    """Returns a page that shows a file; of a notebook, the script that it is made of."""
    source = source.replace(".ipynb", ".py")
    text = read(source)
    if len(text) > LONGEST:
        return f"# {source}\n\n{len(text):,} characters, which the repository has.\n"
    fence = "`" * (1 + max([2, *(len(found) for found in re.findall("`+", text))]))
    return f"# {source}\n\n{fence}{FENCES.get(pathlib.Path(source).suffix, 'text')}\n{text}\n{fence}\n"


def commands():
    """Returns the page of all verbs and their flags: what `--help` prints."""
    os.environ.pop("XLING_DATA", None)  # the default of a flag, which is nobody else's
    words = [*VERBS, *(f"data {name}" for name in ("list", "show", "doctor", "labels"))]
    parts = [f"## xling {verb}\n\n```text\n{help_of(verb.split())}\n```\n" for verb in words]
    return "# Commands\n\n```text\n" + usage() + "\n```\n\n" + "\n".join(parts)


def help_of(words):
    """Returns what `xling WORDS --help` prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return said.getvalue().strip()


def options():
    """Returns the page of everything a config can say: fields, types, defaults, and the comments beside them."""
    parts = ["# Options\n\nWhat a config can say, by the class it becomes. `--config.a.b=value` sets one.\n"]
    for module, hidden in OPTIONS.items():
        source = read(f"xling_jax/{module}.py")
        comments = comments_of(source)
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and node.decorator_list and node.name not in hidden.split():
                parts.append(f"## {node.name}\n\n{plain(ast.get_docstring(node))}\n\n{fields(node, comments)}\n")
    return "\n".join(parts)


def comments_of(source):
    """Returns the comment of each line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def fields(node, comments):
    """Returns the table of a dataclass's fields."""
    lines = ["| field | type | default | |", "|---|---|---|---|"]
    for one in node.body:
        if isinstance(one, ast.AnnAssign):
            kind, default = ast.unparse(one.annotation), ast.unparse(one.value) if one.value else "none"
            default = re.sub(r"dataclasses\.field\(default_factory=(\w+)\)", r"\1()", default).replace("dict()", "{}")
            said = comments.get(one.end_lineno, "").replace("|", "\\|")
            lines.append(f"| `{ast.unparse(one.target)}` | `{kind}` | `{default}` | {said} |")
    return "\n".join(lines)


def plain(text):
    """Returns a docstring as paragraphs of a page."""
    return re.sub(r"\n {4,}", "\n", text or "")


def tables():
    """Returns the page of the tables that have no page of their own."""
    listed = {
        "Kinds of task": ([*KINDS.values()], "name fields metrics trained evaluated packs length"),
        "Languages": ([*LANGUAGES.values()], "code name iso3 script family pretrained_in resources"),
        "Slices": ([*SLICES.values()], "name chips hosts"),
    }
    parts = ["# Languages, kinds, slices\n\nRows of `xling_jax/tables`. Tasks and models have pages of their own.\n"]
    return "\n".join([*parts, *(f"## {title}\n\n{table(rows, names)}\n" for title, (rows, names) in listed.items())])


def table(rows, names):
    """Returns rows as a table, with the attributes named."""
    lines = ["| " + " | ".join(names.split()) + " |", "|" + "---|" * len(names.split())]
    for row in rows:
        values = [getattr(row, name) for name in names.split()]
        words = [" ".join(value) if isinstance(value, tuple) else str(value) for value in values]
        lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines)


def python():
    """Returns the page of modules that other programs may import, from their docstrings."""
    parts = ["# Python\n\nWhat other programs may import. Names that begin with `_` are nobody's.\n"]
    for title, modules in MODULES.items():
        parts.append(f"# {title}\n")
        for name in modules.split():
            assert importlib.util.find_spec(f"xling_jax.{name}"), f"no module xling_jax.{name}"
            parts.append(f"::: xling_jax.{name}\n")
    return "\n".join(parts)

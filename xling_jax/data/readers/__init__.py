"""Parsers of the publishers' file formats. Each takes a cell's files and yields raw examples.

A line that does not say what its format promises is an error that names it: a reader never skips, repairs or
guesses, except where the row names a known fault of the publisher's files (`FAULTS` in `tables/rows/task.py`); then
it counts each case in `File.faults`.

Ids are the same for translations of one example: the publisher's id where there is one, else the number of the
record. Lines of UD and Tatoeba are not parallel across languages, so their ids carry the language.
"""

from xling_jax.data.readers.entities import read_mewslix
from xling_jax.data.readers.files import File
from xling_jax.data.readers.lines import read_conllu_text, read_lines, read_tatoeba, read_tsv_text
from xling_jax.data.readers.records import RECORD_READERS
from xling_jax.data.readers.retrieval import read_bucc, read_lareqa, read_squad_retrieval
from xling_jax.data.readers.squad import read_squad_json
from xling_jax.data.readers.tagged import read_ccg, read_conllu, read_tagged_tsv

__all__ = ["READERS", "File"]

READERS = {
    "tsv_text": read_tsv_text,
    "lines": read_lines,
    "conllu_text": read_conllu_text,
    "tatoeba": read_tatoeba,
    "bucc": read_bucc,
    "lareqa": read_lareqa,
    "squad_retrieval": read_squad_retrieval,
    "mewslix": read_mewslix,
    "squad_json": read_squad_json,
    "tagged_tsv": read_tagged_tsv,
    "conllu": read_conllu,
    "ccg": read_ccg,
    **RECORD_READERS,
}

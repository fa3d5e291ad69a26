"""The generated world. A split's path is its size: examples per language."""

from xling_jax.tables.rows.task import NLI, UPOS, Split, Task

WORLD = "qen qnd qnr qms qda qdt qmg qdx"
NER = tuple("O B-PER I-PER B-ANI I-ANI B-LOC I-LOC".split())


def _world(name: str, kind: str, train: int, test: int, labels: tuple[str, ...] = (), **columns) -> Task:
    sizes = {"train": train, "dev": test, "test": test}
    splits = {split: Split(str(size), WORLD) for split, size in sizes.items() if size}
    return Task(name, kind, "world", splits, labels, pivot="qen", **columns)


ROWS = (
    _world("world_text", "mlm", train=20_000, test=0),
    _world("world_nli", "pair_classification", train=12_000, test=500, labels=NLI),
    _world("world_qa", "span_qa", train=12_000, test=500),
    _world("world_qa2", "span_qa", train=3_000, test=500),
    _world("world_pos", "tagging", train=6_000, test=300, labels=UPOS),
    _world("world_ner", "tagging", train=6_000, test=300, labels=NER),
    _world("world_choice", "multiple_choice", train=12_000, test=500, choices=4),
    _world("world_parallel", "retrieval", train=0, test=256),
)

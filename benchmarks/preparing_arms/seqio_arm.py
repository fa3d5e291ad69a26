"""A SeqIO Task whose preprocessors are TensorFlow graphs, with SeqIO's own SentencePiece vocabulary."""

import pathlib

import seqio
import tensorflow as tf

from preparing_arms import QUESTION, Run, examples, labels

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
RANKS = {
    "mnli": {"input_ids": 1, "label": 0},
    "squad": {"input_ids": 1, "start": 0, "end": 0, "spans": 2},
    "udpos": {"input_ids": 1, "labels": 1},
}


def make(folder: pathlib.Path, cell: str, length: int, count: int) -> Run:
    """Returns what is timed."""
    vocabulary = seqio.SentencePieceVocabulary(str(folder / "sentencepiece.bpe.model"), extra_ids=0)
    kind, rows = cell.partition(".")[0], examples(cell, count)
    columns = {"mnli": _pair_columns, "squad": _window_columns, "udpos": _tag_columns}[kind](rows)
    graph = {"mnli": _pair, "squad": _windows, "udpos": _tags}[kind](vocabulary.tf_tokenizer, length, labels(cell))

    def source(split, shuffle_files=False, seed=None):
        del split, shuffle_files, seed
        return tf.data.Dataset.from_tensor_slices(columns)

    def preprocess(dataset):
        return dataset.flat_map(graph) if kind == "squad" else dataset.map(graph)

    through = seqio.PassThroughVocabulary(vocabulary.vocab_size + 2)
    features = {
        name: seqio.Feature(through, add_eos=False, dtype=tf.int32, rank=rank) for name, rank in RANKS[kind].items()
    }
    data = seqio.FunctionDataSource(source, ["train"])
    task = seqio.Task(cell, source=data, preprocessors=[preprocess], output_features=features)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1

    def run() -> tuple[int, int, int]:
        dataset = task.get_dataset(None, "train", shuffle=False, try_in_mem_cache=False).with_options(options)
        lengths = [len(example["input_ids"]) for example in dataset.as_numpy_iterator()]
        return len(rows), len(lengths), sum(lengths)

    return run


def _pair_columns(rows):
    return {name: [row[name] for row in rows] for name in ("text", "text_pair", "label")}


def _window_columns(rows):
    """Returns questions, contexts and the answers' places in bytes, as the graph's offsets are."""
    answers = [row["answers"][0] for row in rows]
    before = [len(row["context"][: a["start"]].encode()) for row, a in zip(rows, answers, strict=True)]
    after = [begin + len(answer["text"].encode()) for begin, answer in zip(before, answers, strict=True)]
    return {"begin": before, "end": after, **{name: [row[name] for row in rows] for name in ("question", "context")}}


def _tag_columns(rows):
    return {name: ["\n".join(row[name]) for row in rows] for name in ("tokens", "tags")}


def _ours(ids):
    """Returns XLM-R's ids."""
    return tf.where(ids == 0, 3, ids + 1)


def _number(label, names):
    return tf.argmax(tf.cast(tf.equal(label[..., None], names), tf.int32), -1, tf.int32)


def _pair(pieces, length, names):
    names, room = tf.constant(names), length - 4

    def graph(example):
        first, second = (_ours(pieces.tokenize(example[name])) for name in ("text", "text_pair"))
        keep = tf.minimum(tf.size(first), room - tf.minimum(tf.size(second), room // 2))
        ids = tf.concat([[0], first[:keep], [2, 2], second[: room - keep], [2]], 0)
        return {"input_ids": ids, "label": _number(example["label"], names)}

    return graph


def _windows(pieces, length, names):
    del names

    def graph(example):
        question = _ours(pieces.tokenize(example["question"]))[:QUESTION]
        ids, begins, ends = pieces.tokenize_with_offsets(example["context"])
        ids, begins, ends = _ours(ids), tf.cast(begins, tf.int32), tf.cast(ends, tf.int32)
        offset = tf.size(question) + 3
        touching = tf.cast(tf.where((ends > example["begin"]) & (begins < example["end"]))[:, 0], tf.int32)
        first, last = touching[0], touching[-1]
        room = length - offset - 1
        step = room // 2

        def window(at):
            part = ids[at : at + room]
            held = (first >= at) & (last < at + tf.size(part))
            inner = tf.stack([begins[at : at + room], ends[at : at + room]], 1)
            return {
                "input_ids": tf.concat([[0], question, [2, 2], part, [2]], 0),
                "start": tf.where(held, first - at + offset, -1),
                "end": tf.where(held, last - at + offset, -1),
                "spans": tf.concat([tf.fill([offset, 2], -1), inner, [[-1, -1]]], 0),
            }

        starts = tf.range(0, tf.maximum(1, tf.size(ids) - room + step), step)
        return tf.data.Dataset.from_tensor_slices(starts).map(window)

    return graph


def _tags(pieces, length, names):
    names, room = tf.constant(names), length - 2

    def graph(example):
        ragged = pieces.tokenize(tf.strings.split(example["tokens"], "\n"))
        tags = _number(tf.strings.split(example["tags"], "\n"), names)
        word = tf.cast(ragged.value_rowids(), tf.int32)
        first = tf.concat([[True], word[1:] != word[:-1]], 0)
        labels_L = tf.where(first, tf.gather(tags, word), -1)[:room]
        ids = _ours(ragged.flat_values)[:room]
        return {"input_ids": tf.concat([[0], ids, [2]], 0), "labels": tf.concat([[-1], labels_L, [-1]], 0)}

    return graph

"""The arms of `benchmarks/finetuning.py` that are the peer: transformers' Trainer, and inference under PyTorch.

Nothing of this program is imported: it runs in an environment of its own.
"""

import inspect
import itertools
import queue
import sys
import threading

import numpy as np
import torch
import transformers
from shared import JOBS, SIZE, answers, flops_of, matmul_peak, parser, serve

MODELS = {
    "mnli": "SequenceClassification",
    "xnli": "SequenceClassification",
    "squad": "QuestionAnswering",
    "xquad": "QuestionAnswering",
    "udpos": "TokenClassification",
    "mlm": "MaskedLM",
}
LABELS = {"mnli": 3, "xnli": 3, "udpos": 17}
PAD, IGNORED = 1, -100
# A row of xling_jax/tables/models.py: layers, width, heads, mlp.
SIZES = {"tiny": (2, 16, 2, 32), "xlmr_base": (12, 768, 12, 3072), "xlmr_large": (24, 1024, 16, 4096)}


def main() -> None:
    """Serves turns."""
    out = answers()

    asked = parser().parse_args()
    layers, width, heads, mlp = SIZES[asked.model]
    plain = {"attention_probs_dropout_prob": 0.0} if asked.arm != "default" else {}
    config = transformers.XLMRobertaConfig(
        vocab_size=250_002,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=mlp,
        max_position_embeddings=514,
        type_vocab_size=1,
        num_labels=LABELS.get(asked.job, 2),
        **plain,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = getattr(transformers, f"XLMRobertaFor{MODELS[asked.job]}")._from_config(config, attn_implementation="sdpa")
    rows, does = Rows(asked), JOBS[asked.job].does
    make_turn = {"train": training, "infer": inference}[does]
    turn, settings = make_turn(asked, model.to(device), rows, device)
    size = SIZE if device == "cuda" else SIZE // 2
    square = torch.ones(size, size, dtype=getattr(torch, asked.dtype), device=device)

    def product():
        square @ square
        if device == "cuda":
            torch.cuda.synchronize()

    about = {
        "what": f"transformers {transformers.__version__}, torch {torch.__version__} on {device}",
        "settings": settings | plain | {"attention": "sdpa", "threads": torch.get_num_threads()},
        "matmul_peak_flops": matmul_peak(product, size),
    }
    memory = torch.cuda.max_memory_allocated if device == "cuda" else None
    serve(out, about, turn, flops_of(layers, width, mlp, 3 if does == "train" else 1), memory)


class Rows:
    """The texts of a job as a dataset, and how they are put together."""

    def __init__(self, asked):
        """Reads what `--make` has made."""

        found = np.load(asked.folder / f"{asked.job}.npz")
        self.lengths = found["lengths"].tolist()
        ends = np.cumsum(found["lengths"])
        self._ids = [found["input_ids"][end - n : end].tolist() for end, n in zip(ends, self.lengths, strict=True)]
        self._labels = {}
        for name, theirs in (("label", "labels"), ("start", "start_positions"), ("end", "end_positions")):
            if name in found:
                self._labels[theirs] = found[name].tolist()
        if "labels" in found:  # one of each token
            tags = np.where(found["labels"] < 0, IGNORED, found["labels"])
            pieces = (tags[end - n : end].tolist() for end, n in zip(ends, self.lengths, strict=True))
            self._labels["labels"] = list(pieces)
        self.collated: list[tuple[list[int], int]] = []

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, at):
        row = {"input_ids": self._ids[at], "length": self.lengths[at]}
        return row | {name: labels[at] for name, labels in self._labels.items()}

    def collate(self, rows):
        """Returns tensors of rows, padded to the longest; counts them."""

        longest = max(len(row["input_ids"]) for row in rows)
        filled = lambda name, pad: torch.tensor([row[name] + [pad] * (longest - len(row[name])) for row in rows])  # noqa: E731
        batch = {"input_ids": filled("input_ids", PAD)}
        batch["attention_mask"] = (batch["input_ids"] != PAD).long()
        for name in self._labels:
            per_token = isinstance(rows[0][name], list)
            batch[name] = filled(name, IGNORED) if per_token else torch.tensor([row[name] for row in rows])
        self.collated.append(([len(row["input_ids"]) for row in rows], batch["input_ids"].numel()))
        return batch

    def masked(self, rows):
        """Returns `collate` with 15% of the tokens to predict, as DataCollatorForLanguageModeling chooses them."""

        batch = self.collate(rows)
        ids = batch["input_ids"]
        chosen = torch.bernoulli(torch.full(ids.shape, 0.15)).bool() & (ids > 3)
        batch["labels"] = torch.where(chosen, ids, IGNORED)
        action = torch.rand(ids.shape)
        ids = torch.where(chosen & (action < 0.8), 250_001, ids)
        batch["input_ids"] = torch.where(chosen & (action > 0.9), torch.randint(4, 250_001, ids.shape), ids)
        return batch


def training(asked, model, rows, device):
    """Returns (a turn of some steps, settings). The Trainer runs in a thread, and waits between turns."""

    go, ended = queue.Queue(), queue.Queue()

    class Turns(transformers.TrainerCallback):
        """Holds the Trainer between turns."""

        def on_step_begin(self, args, state, control, **_):
            if state.global_step % asked.steps == 0:
                go.get()

        def on_step_end(self, args, state, control, **_):
            if state.global_step % asked.steps == 0:
                if device == "cuda":
                    torch.cuda.synchronize()
                ended.put(None)

    best = asked.arm != "default"
    options = {"optim": "adamw_torch_fused"} if best else {}
    takes = inspect.signature(transformers.TrainingArguments).parameters
    if best and "group_by_length" in takes:
        options["group_by_length"] = True
    elif best:  # transformers 5 says it so
        options["train_sampling_strategy"] = "group_by_length"
    arguments = transformers.TrainingArguments(
        output_dir=str(asked.folder / "trainer"),
        per_device_train_batch_size=asked.batch,
        max_steps=(asked.turns + 1) * asked.steps,
        learning_rate=1e-5,
        weight_decay=0.01,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=asked.dtype == "bfloat16",
        torch_compile=asked.arm == "compiled",
        remove_unused_columns=False,
        **options,
    )
    collate = rows.masked if asked.job == "mlm" else rows.collate
    trainer = transformers.Trainer(model, arguments, collate, rows, callbacks=[Turns()])
    threading.Thread(target=trainer.train, daemon=True).start()
    done = iter(range(0, 10**9, asked.steps))

    def turn():
        first = next(done)
        go.put(None)
        ended.get()
        # The loader is a batch ahead, so steps are told by their number.
        taken = rows.collated[first : first + asked.steps]
        return [length for lengths, _ in taken for length in lengths], sum(places for _, places in taken)

    return turn, options


def inference(asked, model, rows, device):
    """Returns (a turn through all texts, settings): the shortest first, or, as it comes, in the order of the files.

    The first turn, which warms up, takes every sixteenth batch.
    """

    model.eval()
    if asked.arm == "compiled":
        model = torch.compile(model, dynamic=True)
    numbers = list(range(len(rows)))
    if asked.arm != "default":
        numbers.sort(key=rows.lengths.__getitem__)
    batches = [numbers[at : at + asked.eval_batch] for at in range(0, len(numbers), asked.eval_batch)]

    turns = itertools.count()

    def turn():
        rows.collated.clear()
        found = []
        some = batches if next(turns) else batches[::16]
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=asked.dtype == "bfloat16"):
            for members in some:
                batch = rows.collate([rows[at] for at in members])
                given = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
                said = model(**given)
                found.append(said.logits if "logits" in said else torch.stack((said.start_logits, said.end_logits)))
                if len(found) > 1:  # fetched a batch later, so that the device has something to do meanwhile
                    found[-2].float().cpu()
            found[-1].float().cpu()
        return [length for lengths, _ in rows.collated for length in lengths], sum(n for _, n in rows.collated)

    return turn, {}


if __name__ == "__main__":
    main()
    sys.exit(0)

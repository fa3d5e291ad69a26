"""A small experiment to plan: two layers on the generated world."""


def fields(**changes):
    stage = {"data": ("world_nli.train.qen",), "epochs": 2.0, "batch_size": 16, "max_length": 16, "save_every": 400}
    pos = {"data": ("world_pos.train.qen",), "steps": 30, "batch_size": 16, "max_length": 24, "buckets": (16, 24)}
    return {
        "name": "small",
        "model": "tiny",
        "pretrain": {"data": ("world_text.train.qen+qnd",), "steps": 50, "batch_size": 32, "max_length": 16},
        "seeds": (0, 1),
        "arms": {"none": {}, "nli": {"stage": stage}},
        "targets": {
            "pos": {"task": "world_pos", "stage": pos, "languages": "qen+qdt"},
            "retrieval": {"task": "world_parallel", "max_length": 16, "protocol": {"layer": 1}},
        },
        "eval_batch_size": 64,
        "source_language": "qen",
        "baseline": "none",
        "strategy": "fsdp",
        "mesh": "fsdp",
    } | changes

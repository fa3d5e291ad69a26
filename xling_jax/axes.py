"""Legend of array axes, and the logical axis names that partitioning knows.

An array's name ends in its axes: `tokens_BxL` is batch by length. The letters:

    B  examples in a batch           L  tokens of an example
    C  choices of an example         T  all tokens of a batch, B * L; tokens of a target text
    D  model width                   F  feed-forward width
    H  attention heads               K  width of one head; nearest of a text
    V  vocabulary                    Y  labels of a head
    M  masked positions of a batch;  N  items of a data set; queries of a search
       candidates of a search;
       items of a language, if fewer
    R  replicates                    S  seeds; segments of a packed row
    G  languages                     A  arms
    W  beams of a search             E  hidden states: the embeddings, and what each layer makes
    P  places of keys                J  heads of keys and values, each shared by I heads of queries

Logical names label the axes of *parameters and activations*; which mesh axis each one is
split over is the business of `partitioning/rules.py` alone.
"""

BATCH = "batch"
LENGTH = "length"
EMBED = "embed"
MLP = "mlp"
HEADS = "heads"
KV = "kv"
VOCAB = "vocab"
LABELS = "labels"
LAYERS = "layers"
RANK = "rank"  # of low-rank adapters
TRIAL = "trial"  # of trainings in one program: the first axis of all that each of them has, named in no array

LOGICAL_AXES = (BATCH, LENGTH, EMBED, MLP, HEADS, KV, VOCAB, LABELS, LAYERS, RANK, TRIAL)

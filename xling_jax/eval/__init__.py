"""Zero-shot evaluation: outputs over a cell, answers, numbers. One file per kind of task.

A kind's module has these functions; `others` and `gather` only where answers depend on other cells:

    device(outputs, batch, target)       what leaves the device for each feature, as a dict of arrays
    answers(outputs, raw, setting)       one prediction for each raw example, from the outputs of its features
    submission(predictions, raw)         (file ending, text) in the layout of the XTREME benchmark
    detail(outputs, raw, setting)        what is written of each example beside its scores, a dict
    others(cell, target)                 further cells that a cell's answers depend on
    gather(found, setting)               what is made of those once, from {cell: (outputs, raw)}
    layer_scores(outputs, raw, setting)  {layer: answers} where vectors are compared, of outputs of all hidden states
    priors(outputs, setting)             how likely each label is on average, where answers are said in words

Outputs of models that answer in words are the logits of their answers, or texts (see stages/words.py), which
`words.py` reads back for all kinds.

`device` is compiled into the model's forward pass; the others run on the host, but for a search on the mesh.
"""

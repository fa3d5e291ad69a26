"""Zero-shot evaluation: outputs over a cell, answers, numbers. One file per kind of task.

A kind's module has three functions:

    device(outputs, batch, target)      what leaves the device for each feature, as a dict of arrays
    answers(rows, raw, target)          one prediction for each raw example, from the rows of its features
    submission(predictions, raw)        (file ending, text) in the layout of the XTREME benchmark

`device` is compiled into the model's forward pass; the other two are plain Python.
"""

"""Finding the ventricles in a cine: a small network on slices, put back on the input's grid and made plausible.

`segment.segment` is the entry point; `model.load_model` opens and verifies a folder with weights.
"""

"""The one door for Keras files: what others made is read as data, and never run.

`door` decides what a file is, and has its architecture looked at by the patched tree's
`keras_config` before Keras or TensorFlow see any of it; `archive`, `hdf5` and `saved_model` open
the three containers, with their sizes and links checked. What comes through is a `ModelFile`, from
which `keras2` makes a model; `odapi.convert.keras3` makes those of Keras 3.
"""

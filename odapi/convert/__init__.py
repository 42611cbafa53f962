"""From a Keras classifier to the checkpoint and config that a detector trains from.

Data flows one way: `source` reads the classifier; `vgg16` finds VGG-16 in it, or `backbone` takes
any other one apart, with the `preprocessing` of its images; either makes a `plan`, and `checkpoint`
writes what it holds. `restore` reads that back as training does, `parity` and `report` compare.
`transfer` runs them in that order into an `artefact`, and `command` is its command line.
"""

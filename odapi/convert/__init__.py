"""From a Keras classifier to the checkpoint and config that a detector trains from.

Data flows one way: `source` reads the classifier, `vgg16` finds VGG-16 in it, `checkpoint` writes
what was found, `restore` reads it back as training does, `parity` and `report` compare. `transfer`
runs them in that order, and `command` is its command line.
"""

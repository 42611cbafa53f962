"""What build.sh runs in Python once the dependencies are there. Imports no TensorFlow.

protos       recovers the .proto sources from the generated modules and recompiles them
environment  puts the patched tree on the interpreter's import path
validate     runs the builder tests in TF2 and in TF1 behaviour
"""

"""Keeps a pinned third-party tree as *archive + patch queue = tree*, and proves it.

The archive is identified by its sha256, the pristine tree by its git tree id, every patch by the
blob ids in its ``index`` lines (``entry``: or by whole files) and the result by the tree id in a
lock file. Everything is computed and compared in memory before a byte is written; the finished tree
is swapped into place whole.

Data flows one way::

    archive  ->  snapshot  ->  exact  ->  tree (staging, swap)       commands.apply, unapply
                                |
    git commits of the tree  ->  export  ->  patches/, series, lock  commands.export

Needs Python 3.11 and git 2.30, nothing else. Knows nothing of what the tree contains.
"""

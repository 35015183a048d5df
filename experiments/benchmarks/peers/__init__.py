"""What ``benchmarks.training`` compares: one file a framework, each used as its own documentation recommends.

A peer is ``prepare(work) -> Peer``. It runs in a process of its own (``worker``), so that no framework's threads or
allocator disturb another's.
"""

"""Parts of ``tools/build_head.py``."""

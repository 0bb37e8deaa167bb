"""Real-time DFA-NeRF: from one person's video an avatar, from a live voice that person speaking.

Importing the package loads neither torch nor the native module; rooms load what they need.
"""

__version__ = "0.1.0"

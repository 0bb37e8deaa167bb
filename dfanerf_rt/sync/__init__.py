"""The audio encoder (paper eq. 3): sound to audio codes in the space of the mouth codes, whole or streamed."""

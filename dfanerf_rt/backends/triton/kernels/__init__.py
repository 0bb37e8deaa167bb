"""The kernels; importing a file of this folder imports Triton, and TRITON_INTERPRET is read at that moment."""

"""Triton kernels: the portable GPU path, for training and for GPUs without a built extension.

Triton itself is imported with the kernels (``triton/kernels``), which the operators import when they first run.
"""

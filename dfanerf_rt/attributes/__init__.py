"""The disentangling autoencoder (paper eq. 2): frontal landmarks to mouth code and eye code, and back."""

"""Operations that PyTorch does not have, as Triton kernels or as functions with gradients of their own."""

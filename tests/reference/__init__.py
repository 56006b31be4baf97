"""The paper's equations once more, slowly: NumPy, float64, explicit loops, no torch.

Written from the paper and the project's decisions about what it leaves open, never from the model's
code, so that an error in one is unlikely to be repeated in the other. A history is a plain list,
oldest item first, and holds no padding; :mod:`tests.reference.padded` repeats the forward pass on a
padded layout of fixed length. Dropout is off; noise is an argument where an equation has noise.

Vectors are rows and multiply matrices from the left, as in the paper.
"""

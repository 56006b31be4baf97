"""A slow reference implementation of the paper: NumPy, float64, explicit loops, no torch.

It is written from the paper, and from the project's decisions on what the paper leaves open. It is
never written from the model's code, so an error in one is unlikely to be repeated in the other. A
history is a plain list, oldest item first, without padding; :mod:`tests.reference.padded` repeats
the forward pass on a padded layout. Dropout is off. If an equation has noise, it is an argument.

Vectors are rows and multiply matrices from the left, as in the paper.
"""

import os

# Textual may wait for up to two frames before it draws. At its default of 60 frames per second, the
# wait alone exceeds our time limit for a keystroke. A higher rate costs nothing while the screen is
# idle, because Textual draws only what has changed.
os.environ.setdefault("TEXTUAL_FPS", "240")

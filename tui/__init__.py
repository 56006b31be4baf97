import os

# Textual waits for up to two of its frames before it draws. At its 60 a second that alone is longer
# than a keystroke may take; it draws nothing where nothing has changed.
os.environ.setdefault("TEXTUAL_FPS", "240")

"""The two themes. Capsules and heatmaps use the same colours in both."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="miracle-dark",
    dark=True,
    primary="#7aa2f7",
    secondary="#56b4e9",
    accent="#e6b450",
    foreground="#d7dce5",
    background="#11141a",
    surface="#171b23",
    panel="#212733",
    warning="#e6b450",
    error="#ef7f45",
    success="#2fb58a",
    variables={"border-blurred": "#39414f", "footer-key-foreground": "#e6b450"},
)
LIGHT = Theme(
    name="miracle-light",
    dark=False,
    primary="#2454b5",
    secondary="#0072b2",
    accent="#8a5a00",
    foreground="#1d2430",
    background="#f6f7f9",
    surface="#ffffff",
    panel="#e6e9ef",
    warning="#8a5a00",
    error="#b5430c",
    success="#00694a",
    variables={"border-blurred": "#c3c9d4", "footer-key-foreground": "#8a5a00"},
)

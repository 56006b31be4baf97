from tui.screens.base import ExplorerScreen
class CompareScreen(ExplorerScreen):
    mode = "compare"
    def compose_main(self): yield from ()
    def arrive(self): pass

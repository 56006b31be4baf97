from tui.screens.base import ExplorerScreen
class CapsulesScreen(ExplorerScreen):
    mode = "capsules"
    def compose_main(self): yield from ()
    def arrive(self): pass

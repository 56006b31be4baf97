from tui.screens.base import ExplorerScreen
class TrainingScreen(ExplorerScreen):
    mode = "training"
    def compose_main(self): yield from ()
    def arrive(self): pass

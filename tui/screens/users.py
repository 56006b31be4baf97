from tui.screens.base import ExplorerScreen
class UsersScreen(ExplorerScreen):
    mode = "users"
    def compose_main(self): yield from ()
    def arrive(self): pass

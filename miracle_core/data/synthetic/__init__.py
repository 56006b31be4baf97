"""Generated shops with planted interests: ``generate_shops`` is the door."""

from miracle_core.data.synthetic.shop import Shop, Truth, generate_shops, write_shop_files
from miracle_core.data.synthetic.vocabulary import ROLES, SHOPS

__all__ = ["ROLES", "SHOPS", "Shop", "Truth", "generate_shops", "write_shop_files"]

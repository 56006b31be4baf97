"""Systems compared: statistics, tables, and a second computation that checks them."""

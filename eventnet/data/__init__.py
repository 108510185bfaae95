"""Real recordings: recipes that say where they come from, and readers that turn them into arrays.

`fetch` returns a folder of verified files; the modules `euroc` and `mnist` read them.
"""

from eventnet.data.recipes import File, Mirror, Package, Recipe, cached, fetch, names, recipe

__all__ = ["File", "Mirror", "Package", "Recipe", "cached", "fetch", "names", "recipe"]

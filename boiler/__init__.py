"""boiler finds sounds that sound alike: it trains an encoder on a folder of sounds, without labels, and indexes them.

>>> from boiler import Nearest
>>> Nearest("exp/esc10/MFCCStats").query("dog.wav").matches  # doctest: +SKIP

Letters for shapes, the same in every docstring of the package:

====  ======================  ====  ==================
B     batch                   D     vector length
T     samples                 N     rows of an index
F     frames                  Q     queries
M     mel bands               k     results
K     codes of a codebook
====  ======================  ====  ==================

``import boiler`` imports nothing else: every subpackage is imported by its own name, and `Nearest` at its first use.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "Nearest":
        from boiler.search.nearest import Nearest

        return Nearest
    raise AttributeError(f"module 'boiler' has no attribute {name!r}")

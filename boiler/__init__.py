"""boiler finds sounds that sound alike.

It learns an encoder from a folder of sounds, without labels, indexes them, and answers "what else sounds like this?".

One alphabet for shapes, used in every docstring of the package:

====  ======================  ====  ==================
B     batch                   D     vector length
T     samples                 N     rows of an index
F     frames                  Q     queries
M     mel bands               k     neighbours asked
K     codes of a codebook
====  ======================  ====  ==================

This file imports nothing: ``import boiler`` is instant, and each room is imported by its own name.
"""

__version__ = "0.1.0"

"""Models of other libraries, read and written: one file an architecture, found by its name.

A file that maps an architecture ends in MAPPING = ModelMapping(...); mapping.py explains its
fields.

A foreign field that read_config does not read is named in a warning, unless interop/fields.py lists
it as harmless. Our dropout is that of the residual stream, for which transformers has one or two
fields; its other dropouts are named in a warning too. PyTorch is imported only where a PyTorch file
is read, transformers never.
"""

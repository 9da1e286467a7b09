"""Scaling laws of other forms, one a file, each ending in `FORM = Form(...)` (scaling/contract.py).

The name of a law is the name of its file. `surface.py`, `valleys.py` and `laws.py` beside this
package have the fits of an isoFLOP study.
"""

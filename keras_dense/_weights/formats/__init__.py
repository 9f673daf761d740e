"""Readers of files of weights, one module for each format, with NumPy and the standard library.

Each module has `fits(file)`, which looks at the content and never at the name, and
`contents(file, everything)`, which raises `Broken` for what it cannot read.
"""

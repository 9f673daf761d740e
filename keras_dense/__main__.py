"""`python -m keras_dense`: predict, evaluate, describe and export models from the command line."""

import sys

from keras_dense._command import main

if __name__ == "__main__":
    sys.exit(main())

import pathlib
import sys

# The NumPy reference lies beside the tests, which pytest imports one by one.
sys.path.insert(0, str(pathlib.Path(__file__).parent))

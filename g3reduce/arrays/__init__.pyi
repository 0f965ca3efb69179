from .blocks import Blocks as Blocks
from .exactness import Grid as Grid
from .reduction import SUM as SUM

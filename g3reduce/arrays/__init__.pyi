from .arithmetic import Grid as Grid
from .blocks import Blocks as Blocks
from .reduction import SUM as SUM

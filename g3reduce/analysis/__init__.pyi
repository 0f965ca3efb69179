from .chisquare import Statistic as Statistic
from .nulltest import NullTest as NullTest

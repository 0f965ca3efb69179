from .chisquare import Statistic as Statistic
from .comparison import Comparison as Comparison
from .comparison import Largest as Largest
from .comparison import MapComparison as MapComparison
from .comparison import PlaneComparison as PlaneComparison
from .nulltest import NullTest as NullTest

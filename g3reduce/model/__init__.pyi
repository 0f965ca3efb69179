from .figures import Cluster as Cluster
from .figures import Sums as Sums
from .figures import Work as Work
from .forecasting import Forecast as Forecast
from .forecasting import best as best
from .forecasting import forecast as forecast
from .forecasting import forecasts as forecasts

from .plot import plot_coadd as plot_coadd
from .plot import plot_maps as plot_maps

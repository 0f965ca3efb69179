from .plot import plot_coadd as plot_coadd

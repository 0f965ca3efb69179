from .histograms import plot_histograms as plot_histograms
from .page import write_report as write_report
from .plot import plot_maps as plot_maps
from .spectra import plot_spectra as plot_spectra

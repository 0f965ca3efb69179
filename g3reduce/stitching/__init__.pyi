from .headers import Gap as Gap
from .headers import PlacedScan as PlacedScan
from .headers import ScanHeader as ScanHeader
from .scans import Scan as Scan
from .scans import ScanKeys as ScanKeys
from .shares import Share as Share
from .timeline import Timeline as Timeline

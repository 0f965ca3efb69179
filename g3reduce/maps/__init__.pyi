from .coverage import Coverage as Coverage
from .shard import Shard as Shard
from .toarrays import MapArrays as MapArrays

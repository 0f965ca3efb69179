from .shard import Shard as Shard
from .toarrays import MapArrays as MapArrays

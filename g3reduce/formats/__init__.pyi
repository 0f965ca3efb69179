from .atomic import atomic_maps as atomic_maps
from .kinds import format_of as format_of
from .options import WriteOptions as WriteOptions
from .reading import map_frames_in as map_frames_in
from .writing import write_maps as write_maps

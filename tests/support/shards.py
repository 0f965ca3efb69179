"""What ranks hold after ``result="sharded"``, beside the whole of which it is."""

import numpy as np
import skies
import states

from g3reduce.reductions import elements


def assert_shards_of(comm, shards, expected):
    """The shards of all ranks are the maps, and no pixel is in two of them."""
    assert list(shards) == ["90GHz", "150GHz"]
    for map_id, shard in shards.items():
        planes = skies.planes(expected[map_id])
        assert shard.planes.keys() == planes.keys()
        everywhere = comm.allgather((shard.pixels, shard.planes))
        for name, plane in planes.items():
            assert shard.stubs[name].compatible(skies.maps_by_plane(expected[map_id])[name])
            whole, seen = np.zeros(plane.size), np.zeros(plane.size, int)
            for pixels, theirs in everywhere:
                inside = pixels >= 0
                assert not theirs[name][~inside].any()
                whole[pixels[inside]] += theirs[name][inside]
                seen[pixels[inside]] += 1
            np.testing.assert_array_equal(whole, plane.reshape(-1))
            assert seen.max() == 1


def shards_in(value, path=()):
    """The shards of arrays in a result, by their paths in the state."""
    if isinstance(value, elements.ArrayShard):
        return {path: value}
    if isinstance(value, dict):
        items = value.items()
    else:
        items = enumerate(value) if isinstance(value, list | tuple) else vars(value).items()
    return {at: part for name, x in items for at, part in shards_in(x, (*path, name)).items()}


def assert_parts(comm, parts, expected):
    """The parts of all ranks make the whole, and no element is in two of them."""
    found = shards_in(parts)
    arrays = states.numbers(expected)
    assert found.keys() == arrays.keys()
    everywhere = comm.allgather(found)
    for path, array in arrays.items():
        whole, seen = np.zeros(array.size, array.dtype), np.zeros(array.size, int)
        for theirs in everywhere:
            assert theirs[path].shape == array.shape
            whole[theirs[path].indices] = theirs[path].values
            seen[theirs[path].indices] += 1
        np.testing.assert_array_equal(whole, array.reshape(-1))
        assert whole.tobytes() == array.tobytes()
        assert np.all(seen == 1)

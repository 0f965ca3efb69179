from .shards import Shard as Shard

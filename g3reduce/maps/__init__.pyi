from .mapsum import Shard as Shard

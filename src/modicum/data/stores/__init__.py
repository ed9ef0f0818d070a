"""Work done once and kept on disk: record shards, and the store of decoded images built on them.

:class:`~modicum.data.stores.image_store.ImageStore` is the way in for images,
:class:`~modicum.data.stores.shard_writer.ShardWriter` and :class:`~modicum.data.stores.shards.ShardStore` for any
other records of one size (what a frozen backbone says of each image).
"""

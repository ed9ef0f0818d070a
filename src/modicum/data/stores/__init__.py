"""Stores on disk: shards of records, and the store of decoded images built on them.

:class:`~modicum.data.stores.image_store.ImageStore` is the store of images,
:class:`~modicum.data.stores.shard_writer.ShardWriter` and :class:`~modicum.data.stores.shards.ShardStore` for any
other records of one size (such as features of a frozen backbone).
"""

//! Blobs by digest, layer filesystems, metadata with migrations, garbage collection.

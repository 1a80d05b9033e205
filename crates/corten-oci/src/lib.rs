//! Image, runtime and distribution documents, image references, digests, platforms: parse and print.

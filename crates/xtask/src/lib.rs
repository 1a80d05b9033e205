//! House rules as tests: layers, sentences, pages that name what exists. See `tests/it`; `cargo test` runs them.

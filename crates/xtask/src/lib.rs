//! House rules as tests: layers, sentences, pages that name what exists.

//! Whole-program tests, told as stories; see `tests/it`.

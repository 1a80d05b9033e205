//! Whole-program tests, told as stories; they also run against Docker.

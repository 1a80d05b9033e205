//! The tar format: a streaming reader and writer.

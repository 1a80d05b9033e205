//! The command line: one file per command, formats and tables.

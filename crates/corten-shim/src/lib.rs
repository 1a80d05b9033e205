//! The role that stays beside one container: streams, terminal, log, exit code, across daemon restarts.

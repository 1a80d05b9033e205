//! The small process that outlives the daemon: holds its sockets, starts it again, forks shims.

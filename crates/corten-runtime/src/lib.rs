//! Turns a runtime document into a process: namespaces, cgroup, root filesystem, exec, signals.

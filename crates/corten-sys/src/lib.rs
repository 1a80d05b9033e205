//! The Linux edge: mounts, namespaces, cgroups, netlink, process handles, seccomp; the home of unsafe.

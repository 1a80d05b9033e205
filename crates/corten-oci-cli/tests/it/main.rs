//! The MUSTs of the OCI runtime specification, one test each, told to a runtime's program by its command line.
//!
//! The program is ours (`corten` under the name `corten-oci`) or the one that `CORTEN_TEST_RUNTIME` names: the same
//! tests pass on runc and crun, or the test is wrong. What a test that others fail is about, it says in its comment.
//! They need root and a static busybox.

mod config;
mod config_linux;
mod hooks;
mod lifecycle;
mod rootless;
mod selinux;
mod support;
mod systemd;
mod users;

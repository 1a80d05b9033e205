//! Docker's default profile, as a table of our own.
//!
//! What a program in a container needs is allowed; what reaches the host's kernel beyond that (mounts, keys,
//! modules, clocks, tracing of others, new namespaces) is not, or only with the capability that goes with it.
//! `io_uring` is left out, as its calls pass a filter by. Sockets to the hypervisor and to the kernel's
//! cipher interface are left out: both are outside of every namespace or have been a way out before.

use corten_oci::runtime::LinuxSeccompArg;

use super::profile::{ArchitectureMap, Filter, Profile, ProfileRule};

/// Allowed to everybody, by subject.
const ALWAYS: [&str; 7] = [
    // files and folders
    "access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 \
     faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 \
     fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr \
     fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents \
     getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl \
     lchown lchown32 lgetxattr link linkat listmount listxattr listxattrat llistxattr _llseek \
     lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat \
     open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead \
     readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile \
     sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statmount statx symlink symlinkat \
     sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat \
     utimensat_time64 utimes vmsplice write writev",
    // waiting and events
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
     epoll_wait_old eventfd eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake \
     io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect \
     pause poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4 timerfd_create \
     timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64",
    // memory
    "brk get_thread_area madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock \
     mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc \
     pkey_free pkey_mprotect process_mrelease remap_file_pages set_thread_area",
    // sockets
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg \
     recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair",
    // System V objects and message queues
    "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend \
     mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop \
     semtimedop_time64 shmat shmctl shmdt shmget",
    // clocks and timers
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
     clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer \
     time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
     timer_settime64 times",
    // processes, users, signals, scheduling
    "capget capset execve execveat exit exit_group fork get_robust_list getcpu getegid getegid32 geteuid \
     geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getrandom \
     getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 \
     ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self \
     pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall riscv_hwprobe rseq rt_sigaction \
     rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
     rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min \
     sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
     sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler \
     sched_yield seccomp set_robust_list set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid \
     setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 \
     setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sigaltstack sigprocmask \
     sigreturn sysinfo tgkill tkill ugetrlimit uname uretprobe vfork wait4 waitid waitpid",
];

/// Allowed with a capability.
const WITH_CAPABILITY: [(&str, &str); 13] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
];

/// Allowed on some machines.
const ON_ARCHITECTURE: [(&[&str], &str); 3] = [
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    (&["amd64", "x32"], "arch_prctl"),
    (&["amd64", "x32", "x86"], "modify_ldt"),
];

/// Every kind of new namespace: mount, UTS, IPC, user, pid, network, cgroup.
const NEW_NAMESPACES: u64 =
    0x0002_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000 | 0x0200_0000;

/// Personalities that change nothing of importance: Linux, a 32-bit `uname`, and asking.
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Ciphers of the kernel, and the hypervisor.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The profile of containers for which nothing else is asked.
pub fn default_profile() -> Profile {
    let mut syscalls: Vec<ProfileRule> = ALWAYS.iter().map(|names| allow(names)).collect();
    // Since 4.8 the kernel checks a filter again after a tracer has changed a call.
    syscalls.push(ProfileRule {
        includes: Filter { min_kernel: Some("4.8".to_owned()), ..Filter::default() },
        ..allow("process_vm_readv process_vm_writev ptrace")
    });
    for (value, op) in [(AF_ALG, "SCMP_CMP_LT"), (AF_ALG + 1, "SCMP_CMP_EQ"), (AF_VSOCK, "SCMP_CMP_GT")] {
        syscalls.push(ProfileRule { args: vec![argument(value, 0, op)], ..allow("socket") });
    }
    for value in PERSONALITIES {
        syscalls.push(ProfileRule { args: vec![argument(value, 0, "SCMP_CMP_EQ")], ..allow("personality") });
    }
    for (arches, names) in ON_ARCHITECTURE {
        let arches = arches.iter().map(|&name| name.to_owned()).collect();
        syscalls.push(ProfileRule { includes: Filter { arches, ..Filter::default() }, ..allow(names) });
    }
    for (capability, names) in WITH_CAPABILITY {
        syscalls.push(ProfileRule { includes: with(capability), ..allow(names) });
    }
    syscalls.push(ProfileRule { includes: with("CAP_PERFMON"), ..allow("perf_event_open") });
    // Processes and threads, but no namespaces.
    syscalls.push(ProfileRule {
        args: vec![argument(NEW_NAMESPACES, 0, "SCMP_CMP_MASKED_EQ")],
        excludes: with("CAP_SYS_ADMIN"),
        ..allow("clone")
    });
    // Its flags lie in memory, where a filter cannot look: as if it were not there, so that programs use
    // `clone`.
    syscalls.push(ProfileRule {
        action: "SCMP_ACT_ERRNO".to_owned(),
        errno_ret: Some(ENOSYS),
        excludes: with("CAP_SYS_ADMIN"),
        ..allow("clone3")
    });
    let map = |own: &str, others: &[&str]| ArchitectureMap {
        architecture: format!("SCMP_ARCH_{own}"),
        sub_architectures: others.iter().map(|name| format!("SCMP_ARCH_{name}")).collect(),
    };
    Profile {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: Some(EPERM),
        arch_map: vec![map("X86_64", &["X86", "X32"]), map("AARCH64", &["ARM"])],
        syscalls,
        ..Profile::default()
    }
}

fn allow(names: &str) -> ProfileRule {
    ProfileRule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: "SCMP_ACT_ALLOW".to_owned(),
        ..ProfileRule::default()
    }
}

fn with(capability: &str) -> Filter {
    Filter { caps: vec![capability.to_owned()], ..Filter::default() }
}

fn argument(value: u64, value_two: u64, op: &str) -> LinuxSeccompArg {
    LinuxSeccompArg { index: 0, value, value_two, op: op.to_owned() }
}

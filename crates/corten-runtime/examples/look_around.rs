//! Looks around inside a container and prints what is possible there, one thing a line, sorted: what can be read, written,
//! mounted, called, opened, reached. What is not possible is not printed, so that one container's list being a part of
//! another's means that it can do no more.
//!
//! Run in a container of ours and in one of another engine on the same machine, as `look_around`.
#![expect(clippy::print_stdout, reason = "the list is what it is for")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use corten_runtime::seccomp;
use corten_sys::attempt::{Answer, attempt};
use rustix::fs::{FileType, Mode, OFlags};

/// What was found.
#[derive(Default)]
struct Found(BTreeSet<String>);

impl Found {
    fn can(&mut self, what: impl Into<String>) {
        self.0.insert(what.into());
    }

    fn can_if(&mut self, what: impl Into<String>, possible: bool) {
        if possible {
            self.can(what);
        }
    }
}

fn main() {
    // Some of what is tried would be a pity on a host.
    assert!(Path::new("/.dockerenv").exists(), "to be run in a container");
    let mut found = Found::default();
    rights(&mut found);
    descriptors(&mut found);
    mounts(&mut found);
    kernel_files(&mut found);
    devices(&mut found);
    calls(&mut found);
    calls_with_arguments(&mut found);
    sockets(&mut found);
    first_process(&mut found);
    cgroups(&mut found);
    network(&mut found);
    for line in found.0 {
        println!("{line}");
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Numbers in names differ from machine to machine.
fn without_numbers(path: &Path) -> String {
    let mut text = String::new();
    for letter in path.display().to_string().chars() {
        match letter {
            '0'..='9' if text.ends_with('N') => {}
            '0'..='9' => text.push('N'),
            _ => text.push(letter),
        }
    }
    text
}

/// Capabilities in all five sets, what keeps from more, and limits.
fn rights(found: &mut Found) {
    let status = read("/proc/self/status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_default().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let bits = u64::from_str_radix(&field(set), 16).unwrap_or(u64::MAX);
        for name in corten_sys::capability::Capabilities::from_bits(bits).names() {
            found.can(format!("capability {set} {name}"));
        }
    }
    found.can_if("gain privileges at an exec", field("NoNewPrivs") == "0");
    found.can_if("call without a filter", field("Seccomp") != "2");
    found.can_if("be dumped", field("CoreDumping") == "1");
    for group in field("Groups").split_whitespace() {
        found.can(format!("act for group {group}"));
    }
    for (file, text) in
        [("oom_score_adj", "-1"), ("loginuid", "5"), ("uid_map", "0 0 1"), ("setgroups", "deny")]
    {
        let path = format!("/proc/self/{file}");
        found.can_if(format!("write {text:?} to {path}"), fs::write(path, text).is_ok());
    }
    let map = read("/proc/self/uid_map");
    found
        .can_if("be the host's root", map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"]);
    for name in ["Max core file size", "Max nice priority", "Max realtime priority", "Max locked memory"] {
        let limits = read("/proc/self/limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let soft = line.split_whitespace().next().unwrap_or_default().to_owned();
        found.can(format!("limit {name}: {soft}"));
    }
    for (name, _) in std::env::vars() {
        found.can(format!("see variable {name}"));
    }
    found.can_if("write to /", fs::write("/.look-around", "").is_ok());
    let _ = fs::remove_file("/.look-around");
}

fn descriptors(found: &mut Found) {
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let listing = target.to_str().is_some_and(|path| path.starts_with("/proc/") && path.ends_with("/fd"));
        if !listing {
            found.can(format!("descriptor {}", entry.file_name().to_string_lossy()));
        }
    }
}

/// Every mount, and what it allows.
fn mounts(found: &mut Found) {
    for line in read("/proc/self/mountinfo").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (Some(place), Some(options)) = (words.get(4), words.get(5)) else { continue };
        let Some(dash) = words.iter().position(|word| *word == "-") else { continue };
        let kind = words.get(dash + 1).copied().unwrap_or_default();
        if *place == "/look_around" || place.starts_with("/sys/devices/system/cpu/") {
            continue;
        }
        let place = without_numbers(Path::new(place));
        let options: Vec<&str> = options.split(',').collect();
        found.can(format!("mount {place} {kind}"));
        let superblock = words.get(dash + 3).copied().unwrap_or_default();
        let writable = options.contains(&"rw") && superblock.split(',').any(|word| word == "rw");
        found.can_if(format!("mount {place} write"), writable);
        for (flag, what) in [("nosuid", "set user ids"), ("nodev", "devices"), ("noexec", "execute")] {
            found.can_if(format!("mount {place} {what}"), !options.contains(&flag));
        }
        found.can_if(format!("mount {place} shared"), line.contains(" shared:"));
        found.can_if(format!("mount {place} follows the host"), line.contains(" master:"));
    }
}

/// Files of `/proc` and `/sys`: which can be opened for reading and hold something, which for writing.
fn kernel_files(found: &mut Found) {
    let mut waiting = vec![PathBuf::from("/proc"), PathBuf::from("/sys")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            let process = folder == Path::new("/proc")
                && entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
            if process || kind.is_symlink() {
                continue;
            }
            if kind.is_dir() {
                waiting.push(path);
                continue;
            }
            let name = without_numbers(&path);
            let open =
                |flags| rustix::fs::open(&path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
            // A mask can be opened: it is a device, and has nothing.
            if kind.is_char_device() {
                continue;
            }
            found.can_if(format!("write {name}"), open(OFlags::WRONLY).is_ok());
            // Of `/sys` and `/proc/sys` the folders do.
            let shown = if name.starts_with("/proc/") && !name.starts_with("/proc/sys/") {
                name
            } else {
                name.split('/').take(4).collect::<Vec<_>>().join("/")
            };
            let what = format!("read {shown}");
            if !found.0.contains(&what)
                && let Ok(file) = open(OFlags::RDONLY)
            {
                let mut first = [0; 1];
                // Some wait for what happens next.
                let has =
                    shown == "/proc/kmsg" || rustix::io::read(&file, &mut first).is_ok_and(|count| count > 0);
                found.can_if(what, has);
            }
        }
    }
    for path in ["/proc/self/attr/current", "/proc/self/attr/exec", "/proc/self/attr/apparmor/exec"] {
        found.can_if(format!("write {path}"), fs::write(path, "changeprofile unconfined").is_ok());
    }
    for path in
        ["/lib/modules", "/boot", "/proc/1/root/../etc/shadow", "/run/docker.sock", "/var/run/docker.sock"]
    {
        found.can_if(format!("see {path}"), Path::new(path).exists());
    }
}

/// Nodes that are there, and what a node that is made can be used for.
fn devices(found: &mut Found) {
    let mut waiting = vec![PathBuf::from("/dev")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(data) = fs::symlink_metadata(&path) else { continue };
            let kind = data.file_type();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                let (major, minor) = (rustix::fs::major(data.rdev()), rustix::fs::minor(data.rdev()));
                found.can(format!(
                    "device {} {major}:{minor} mode {:o}",
                    path.display(),
                    data.mode() & 0o7777
                ));
            } else {
                found.can(format!("in /dev {}", path.display()));
            }
        }
    }
    let character = FileType::CharacterDevice;
    for (name, kind, major, minor) in [
        ("mem", character, 1, 1),
        ("kmem", character, 1, 2),
        ("port", character, 1, 4),
        ("kmsg", character, 1, 11),
        ("null", character, 1, 3),
        ("tty0", character, 4, 0),
        ("ttyS0", character, 4, 64),
        ("console", character, 5, 1),
        ("watchdog", character, 10, 130),
        ("tun", character, 10, 200),
        ("fuse", character, 10, 229),
        ("kvm", character, 10, 232),
        ("loop-control", character, 10, 237),
        ("vhost-net", character, 10, 238),
        ("autofs", character, 10, 235),
        ("btrfs-control", character, 10, 234),
        ("device-mapper", character, 10, 236),
        ("userfaultfd", character, 10, 126),
        ("input", character, 13, 64),
        ("framebuffer", character, 29, 0),
        ("graphics", character, 226, 0),
        ("cpu-msr", character, 202, 0),
        ("loop0", FileType::BlockDevice, 7, 0),
        ("disk", FileType::BlockDevice, 8, 0),
        ("virtio-disk", FileType::BlockDevice, 254, 0),
        ("virtio-disk", FileType::BlockDevice, 253, 0),
        ("nvme", FileType::BlockDevice, 259, 0),
    ] {
        let path = "/look-around-node";
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            kind,
            Mode::from_raw_mode(0o600),
            rustix::fs::makedev(major, minor),
        );
        if made.is_err() {
            continue;
        }
        found.can(format!(
            "make a node of {}",
            if kind == character { "a character device" } else { "a block device" }
        ));
        for (what, flags) in [("read", OFlags::RDONLY), ("write", OFlags::WRONLY)] {
            let opened = rustix::fs::open(path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
            // Not "no such device": whether the kernel has one is another matter.
            let kept_back = matches!(opened, Err(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS));
            found.can_if(format!("{what} device {name} {major}:{minor}"), !kept_back);
        }
        let _ = fs::remove_file(path);
    }
}

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;

/// Every system call, with arguments that make no sense: whether it is kept back at once.
fn calls(found: &mut Found) {
    let number_of = |wanted: &str| {
        seccomp::system_calls().find(|(name, _)| *name == wanted).map(|(_, number)| i64::from(number))
    };
    for (name, number) in seccomp::system_calls() {
        let kept_back =
            matches!(attempt(i64::from(number), [-1; 6]), Ok(Answer::Error(EPERM | ENOSYS)) | Err(_));
        found.can_if(format!("call {name}"), !kept_back);
    }
    // The other tables that this machine has: their numbers must not lead past the filter.
    let x32 = 0x4000_0000;
    for name in ["mount", "init_module", "bpf", "keyctl"] {
        let Some(number) = number_of(name) else { continue };
        let kept_back = matches!(attempt(number | x32, [-1; 6]), Ok(Answer::Error(EPERM | ENOSYS)) | Err(_));
        found.can_if(format!("call {name} of x32"), !kept_back);
    }
}

/// Calls whose arguments decide.
fn calls_with_arguments(found: &mut Found) {
    let numbers: std::collections::BTreeMap<&str, u32> = seccomp::system_calls().collect();
    let mut try_call = |what: &str, name: &str, arguments: &[i64]| {
        let Some(number) = numbers.get(name) else { return };
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let answer = attempt(i64::from(*number), all);
        found.can_if(format!("do {what}"), matches!(answer, Ok(Answer::Done)));
    };
    let text = |words: &str| CString::new(words).expect("no zero byte");
    let (root, none, tmpfs, proc, place) =
        (text("/"), text("none"), text("tmpfs"), text("proc"), text("/tmp"));
    let at = |text: &CString| text.as_ptr() as i64;
    let namespaces = [
        ("mount", 0x2_0000),
        ("cgroup", 0x200_0000),
        ("uts", 0x400_0000),
        ("ipc", 0x800_0000),
        ("user", 0x1000_0000),
        ("pid", 0x2000_0000),
        ("network", 0x4000_0000),
        ("time", 0x80),
    ];
    for (name, flag) in namespaces {
        try_call(&format!("unshare {name} namespace"), "unshare", &[flag]);
        try_call(&format!("clone {name} namespace"), "clone", &[flag | 0x11]);
    }
    try_call("mount tmpfs", "mount", &[at(&none), at(&place), at(&tmpfs), 0, 0]);
    try_call("mount proc", "mount", &[at(&none), at(&place), at(&proc), 0, 0]);
    try_call("bind mount", "mount", &[at(&root), at(&place), 0, 0x1000, 0]);
    try_call("remount the root", "mount", &[at(&none), at(&root), 0, 0x1020, 0]);
    try_call("fsopen tmpfs", "fsopen", &[at(&tmpfs), 0]);
    try_call("open_tree clone", "open_tree", &[-100, at(&root), 1]);
    try_call("swapoff", "swapoff", &[at(&root)]);
    try_call("chroot", "chroot", &[at(&root)]);
    try_call("sethostname", "sethostname", &[at(&none), 4]);
    try_call("setdomainname", "setdomainname", &[at(&none), 4]);
    try_call("read the kernel's log", "syslog", &[10, 0, 0]);
    try_call("trace by a parent", "ptrace", &[0, 0, 0, 0]);
    try_call("seize process 1", "ptrace", &[0x4206, 1, 0, 0]);
    try_call("pidfd of process 1", "pidfd_open", &[1, 0]);
    try_call("personality of 32 bits", "personality", &[8]);
    try_call("personality without randomisation", "personality", &[0x004_0000]);
    try_call("session keyring", "keyctl", &[1, 0]);
    try_call("keyring of the user", "keyctl", &[0, -4, 1]);
    try_call("userfaultfd", "userfaultfd", &[0]);
    try_call("userfaultfd of user mode", "userfaultfd", &[1]);
    try_call("io_uring", "io_uring_setup", &[8, [0_u64; 32].as_ptr() as i64]);
    let mut event = [0_u64; 16];
    event[0] = 0x80_0000_0001;
    try_call("perf event", "perf_event_open", &[event.as_ptr() as i64, 0, -1, -1, 0]);
    let map: [u32; 32] = {
        let mut map = [0; 32];
        (map[0], map[1], map[2], map[3]) = (2, 4, 4, 1);
        map
    };
    try_call("bpf map", "bpf", &[0, map.as_ptr() as i64, 72]);
    try_call("iopl", "iopl", &[3]);
    try_call("ioperm", "ioperm", &[0x80, 1, 1]);
    try_call("set the clock", "settimeofday", &[[i64::from(u32::MAX), -1].as_ptr() as i64, 0]);
    try_call("acct off", "acct", &[0]);
    try_call("lock memory", "mlockall", &[1]);
    try_call("raise priority", "setpriority", &[0, 0, -1]);
    try_call("realtime scheduling", "sched_setscheduler", &[0, 1, [1_i32].as_ptr() as i64]);
    try_call("stop other uids' processes", "kill", &[1, 0]);
    try_call("become another user", "setuid", &[1000]);
    try_call(
        "handle of a file",
        "name_to_handle_at",
        &[-100, at(&root), [8_u64; 20].as_ptr() as i64, [0_u64; 2].as_ptr() as i64, 0],
    );
    try_call("open by handle", "open_by_handle_at", &[-100, [8_u64; 20].as_ptr() as i64, 0]);
    try_call("read another's memory", "process_vm_readv", &[1, 0, 0, 0, 0, 0]);
    try_call("compare with process 1", "kcmp", &[1, 1, 0, 0, 0]);
    try_call("a namespace of process 1", "setns", &[-1, 0]);
    try_call("fanotify", "fanotify_init", &[0, 0]);
    try_call("fanotify for users", "fanotify_init", &[0x200, 0]);
    try_call("secret memory", "memfd_secret", &[0]);
    try_call("memfd", "memfd_create", &[at(&none), 1]);
    try_call("landlock", "landlock_create_ruleset", &[0, 0, 1]);
    try_call("filter of its own", "seccomp", &[2, 0, [0_u32].as_ptr() as i64]);
    // TIOCSTI puts characters into a terminal's input; on no terminal here, so it only shows whether it is asked.
    try_call("ioctl TIOCSTI", "ioctl", &[0, 0x5412, at(&none)]);
}

/// Kinds of sockets.
fn sockets(found: &mut Found) {
    let numbers: std::collections::BTreeMap<&str, u32> = seccomp::system_calls().collect();
    let Some(number) = numbers.get("socket") else { return };
    let (stream, datagram, raw, seqpacket) = (1, 2, 3, 5);
    for (name, family, kind, protocol) in [
        ("unix", 1, stream, 0),
        ("inet stream", 2, stream, 0),
        ("inet raw icmp", 2, raw, 1),
        ("inet raw", 2, raw, 255),
        ("inet ping", 2, datagram, 1),
        ("inet sctp", 2, seqpacket, 132),
        ("inet mptcp", 2, stream, 262),
        ("inet6 raw", 10, raw, 58),
        ("packet", 17, raw, 0x300),
        ("netlink route", 16, raw, 0),
        ("netlink firewall", 16, raw, 12),
        ("netlink audit", 16, raw, 9),
        ("netlink uevent", 16, raw, 15),
        ("netlink crypto", 16, raw, 21),
        ("netlink generic", 16, raw, 16),
        ("netlink diagnostics", 16, raw, 4),
        ("key", 15, raw, 2),
        ("ax25", 3, stream, 0),
        ("ipx", 4, datagram, 0),
        ("appletalk", 5, datagram, 0),
        ("x25", 9, stream, 0),
        ("rds", 21, seqpacket, 0),
        ("can", 29, raw, 1),
        ("tipc", 30, stream, 0),
        ("bluetooth", 31, raw, 1),
        ("rxrpc", 33, datagram, 0),
        ("alg", 38, seqpacket, 0),
        ("nfc", 39, raw, 0),
        ("vsock", 40, stream, 0),
        ("kcm", 41, datagram, 0),
        ("qipcrtr", 42, datagram, 0),
        ("smc", 43, stream, 0),
        ("xdp", 44, raw, 0),
        ("mctp", 45, datagram, 0),
    ] {
        let answer = attempt(i64::from(*number), [family, kind, protocol, 0, 0, 0]);
        // A family that this kernel does not have is not kept back by the container.
        let kept_back = matches!(answer, Ok(Answer::Error(EPERM | ENOSYS | 13)) | Err(_));
        found.can_if(format!("socket {name}"), !kept_back);
    }
    for (pid, line) in read("/proc/net/unix").lines().enumerate() {
        let name = line.split_whitespace().nth(7).unwrap_or_default();
        found.can_if(format!("abstract socket {pid} {name}"), name.starts_with('@'));
    }
}

/// What of process 1, which may be somebody else's, and of all others is seen.
fn first_process(found: &mut Found) {
    for file in ["environ", "mem", "maps", "cmdline", "stack", "io", "auxv", "personality", "syscall", "exe"]
    {
        found.can_if(format!("open /proc/1/{file}"), fs::File::open(format!("/proc/1/{file}")).is_ok());
    }
    found.can_if("write /proc/1/mem", fs::OpenOptions::new().write(true).open("/proc/1/mem").is_ok());
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = numbers.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count();
    found.can(format!("see {} processes", if pids == 1 { "no other" } else { "other" }));
    for keys in ["/proc/keys", "/proc/key-users"] {
        let lines = read(keys).lines().count();
        found.can_if(format!("see keys in {keys}"), lines > 0);
    }
}

fn cgroups(found: &mut Found) {
    let mut waiting = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < 3 {
                let made = path.join("look-around");
                let name = without_numbers(&path);
                found.can_if(format!("make a cgroup in {name}"), fs::create_dir(&made).is_ok());
                let _ = fs::remove_dir(&made);
                waiting.push((path, depth + 1));
            }
        }
    }
    let text = read("/proc/self/cgroup");
    let outside = text.lines().any(|line| line.contains("/../"));
    found.can_if("see a cgroup outside of its own", outside);
}

fn network(found: &mut Found) {
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        found.can(format!("interface {}", entry.file_name().to_string_lossy()));
    }
    for (file, what) in [("tcp", "tcp"), ("udp", "udp"), ("raw", "raw"), ("packet", "packet")] {
        let lines = read(format!("/proc/net/{file}")).lines().count();
        found.can_if(format!("see {what} sockets of others"), lines > 1);
    }
    for port in [1023, 80, 53] {
        let bound = std::net::TcpListener::bind(("0.0.0.0", port)).is_ok();
        found.can_if(format!("listen on port {port}"), bound);
    }
}

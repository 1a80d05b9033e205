//! `cp` with a container that fights back: CVE-2018-15664, CVE-2019-14271.

use std::path::Path;
use std::process::Command;

use crate::daemon;

#[test]
fn cve_2018_15664_a_container_exchanges_folders_while_files_are_copied() {
    let Some(daemon) = daemon("cve-cp") else { return };
    let outside = daemon.folder().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "the host's").unwrap();
    let script = format!(
        "while :; do rm -rf /w/d; ln -s {} /w/d; rm -f /w/d; mkdir -p /w/d; echo own > /w/d/secret; done",
        outside.display()
    );
    daemon.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &format!("mkdir /w; {script}")]);
    let file = daemon.folder().join("new").display().to_string();
    std::fs::write(&file, "new").unwrap();
    for _ in 0..40 {
        let said = daemon.corten(&["cp", "box:/w/d/secret", "-"]);
        assert!(!said.out.contains("the host's"), "a file of the host was copied out");
        daemon.corten(&["cp", &file, "box:/w/d/"]);
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "something was made outside");
    // A link that stays put leads to a place inside, in both directions.
    let script =
        format!("mkdir -p {0}; echo inside > {0}/secret; ln -sfn {0} /fixed; sleep 600", outside.display());
    daemon.ok(&["run", "-d", "--name", "calm", "busybox", "sh", "-c", &script]);
    while daemon.corten(&["exec", "calm", "test", "-e", "/fixed"]).code != 0 {}
    assert!(daemon.ok(&["cp", "calm:/fixed/secret", "-"]).contains("inside"));
    daemon.ok(&["cp", &file, "calm:/fixed/"]);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "something was made outside");
}

/// Whether a program needs a loader or libraries: then files of whatever root it is in are executed.
fn is_dynamic(program: &Path) -> bool {
    const INTERPRETER: u32 = 3;
    let bytes = std::fs::read(program).unwrap();
    let number = |at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    assert_eq!(&bytes[..5], b"\x7fELF\x02", "a 64-bit program");
    let (table, size, count) = (number(32, 8) as usize, number(54, 2) as usize, number(56, 2) as usize);
    (0..count).any(|index| number(table + index * size, 4) == u64::from(INTERPRETER))
}

#[test]
fn cve_2019_14271_nothing_of_the_container_is_executed_by_cp() {
    let Some(daemon) = daemon("cve-nss") else { return };
    assert!(!is_dynamic(corten_testing::daemon::program()), "the program loads nothing");
    // An image whose name service is its own library.
    let work = daemon.folder().join("work");
    std::fs::create_dir(&work).unwrap();
    let library = work.join("libnss_evil.so.2");
    let compiled = corten_testing::program("cc") && {
        let source = work.join("evil.c");
        std::fs::write(
            &source,
            "#include <fcntl.h>\n#include <unistd.h>\n__attribute__((constructor)) static void run(void)\n\
             { close(open(\"/taken\", O_CREAT | O_WRONLY, 0600)); }\n",
        )
        .unwrap();
        let status =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
        status.success()
    };
    if !compiled {
        std::fs::write(&library, "no library at all").unwrap();
    }
    daemon.ok(&["run", "-d", "--name", "box", "--user", "app", "busybox", "sleep", "600"]);
    let conf = work.join("nsswitch.conf");
    std::fs::write(&conf, "passwd: evil\ngroup: evil\nhosts: evil\n").unwrap();
    daemon.ok(&[
        "exec",
        "-u",
        "0",
        "box",
        "mkdir",
        "-p",
        "/lib",
        "/usr/lib",
        "/lib/x86_64-linux-gnu",
        "/lib64",
    ]);
    for folder in ["/lib/", "/usr/lib/", "/lib/x86_64-linux-gnu/", "/lib64/"] {
        daemon.ok(&["cp", library.to_str().unwrap(), &format!("box:{folder}")]);
    }
    daemon.ok(&["cp", conf.to_str().unwrap(), "box:/etc/nsswitch.conf"]);
    // With the container's own users looked up, in both directions.
    for _ in 0..2 {
        daemon.ok(&["cp", "-a", conf.to_str().unwrap(), "box:/tmp/"]);
        daemon.ok(&["cp", "-a", "box:/etc/passwd", work.to_str().unwrap()]);
        daemon.ok(&["exec", "-u", "app", "box", "true"]);
        daemon.ok(&["stop", "-t", "0", "box"]);
        let inside = daemon.corten(&["cp", "box:/taken", "-"]);
        assert!(inside.code != 0 && !Path::new("/taken").exists(), "the library was executed");
        daemon.ok(&["start", "box"]);
    }
    if !corten_testing::need("cc", compiled) {
        return;
    }
    // The old way: a program that uses the C library's name service in the container's root.
    let source = work.join("old.c");
    let program = work.join("old");
    std::fs::write(
        &source,
        "#include <pwd.h>\n#include <unistd.h>\nint main(int argc, char **argv)\n\
         { return chroot(argv[1]) || chdir(\"/\") || (getpwnam(\"app\"), 0); }\n",
    )
    .unwrap();
    assert!(Command::new("cc").arg("-o").arg(&program).arg(&source).status().unwrap().success());
    let root = work.join("root");
    for folder in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "etc"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        if folder != "etc" {
            std::fs::copy(&library, root.join(folder).join("libnss_evil.so.2")).unwrap();
        }
    }
    std::fs::copy(&conf, root.join("etc/nsswitch.conf")).unwrap();
    assert!(Command::new(&program).arg(&root).status().unwrap().success());
    assert!(root.join("taken").exists(), "no attack to be stopped");
}

//! Volumes, binds and tmpfs.

use crate::daemon;

#[test]
fn volumes_outlive_containers() {
    let Some(daemon) = daemon("volumes") else { return };
    daemon.ok(&["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file"]);
    assert_eq!(daemon.ok(&["run", "--rm", "-v", "data:/data:ro", "busybox", "cat", "/data/file"]), "kept");
    // Filled from the image at first use.
    assert_eq!(
        daemon.ok(&["run", "--rm", "-v", "etc:/etc", "busybox", "grep", "-c", "app", "/etc/passwd"]),
        "1"
    );
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "data\netc");
    // An anonymous one goes with its `--rm` container.
    daemon.ok(&["run", "--rm", "-v", "/scratch", "busybox", "touch", "/scratch/x"]);
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "data\netc");
    daemon.ok(&["volume", "rm", "data", "etc"]);
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn binds_and_tmpfs() {
    let Some(daemon) = daemon("binds") else { return };
    let folder = daemon.folder().join("shared");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("in"), "from outside").expect("a file");
    let bind = format!("{}:/mnt", folder.display());
    assert_eq!(
        daemon.ok(&[
            "run",
            "--rm",
            "-v",
            &bind,
            "busybox",
            "sh",
            "-c",
            "cat /mnt/in; echo inside > /mnt/out"
        ]),
        "from outside"
    );
    assert_eq!(std::fs::read_to_string(folder.join("out")).expect("written through"), "inside\n");
    let said = daemon.corten(&["run", "--rm", "-v", &format!("{bind}:ro"), "busybox", "touch", "/mnt/x"]);
    assert!(said.err.contains("Read-only"), "{said:?}");
    let out = daemon.ok(&[
        "run",
        "--rm",
        "--tmpfs",
        "/run:size=1m",
        "busybox",
        "sh",
        "-c",
        "grep ' /run ' /proc/mounts",
    ]);
    assert!(out.starts_with("tmpfs /run tmpfs") && out.contains("size=1024k"), "{out}");
}

#[test]
fn a_volume_with_options_is_mounted_while_it_is_used() {
    let Some(daemon) = daemon("volume-options") else { return };
    daemon.ok(&[
        "volume",
        "create",
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "-o",
        "o=size=1m,uid=9",
        "fast",
    ]);
    let mounted = || {
        let place = daemon.data_root().join("volumes/fast/_data");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the kernel's list of mounts");
        mounts.lines().filter(|line| line.contains(&*place.to_string_lossy())).count()
    };
    assert_eq!(mounted(), 0);
    daemon.ok(&["run", "-d", "--name", "one", "-v", "fast:/d", "busybox", "sleep", "1000"]);
    daemon.ok(&["run", "-d", "--name", "two", "--volumes-from", "one:ro", "busybox", "sleep", "1000"]);
    assert_eq!(mounted(), 1);
    daemon.ok(&["exec", "one", "sh", "-c", "stat -c %u /d; echo shared > /d/f"]);
    assert_eq!(daemon.ok(&["exec", "two", "cat", "/d/f"]), "shared");
    assert!(daemon.corten(&["exec", "two", "touch", "/d/g"]).err.contains("Read-only"));
    // A new daemon finds the mount, and knows who needs it.
    if let Some(main) = daemon.daemon() {
        daemon.kill(main);
    }
    daemon.ok(&["rm", "-f", "one"]);
    assert_eq!(mounted(), 1);
    assert_eq!(daemon.ok(&["exec", "two", "cat", "/d/f"]), "shared");
    assert_eq!(daemon.corten(&["volume", "rm", "fast"]).code, 1);
    daemon.ok(&["rm", "-f", "two"]);
    assert_eq!(mounted(), 0);
    daemon.ok(&["volume", "rm", "fast"]);

    daemon.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/nothing/here", "bad"]);
    let said = daemon.corten(&["run", "--rm", "-v", "bad:/d", "busybox", "true"]);
    assert!(said.err.contains("failed to mount local volume: mount /nothing/here:"), "{said:?}");
    assert!(said.err.contains("no such file or directory"), "{said:?}");
}

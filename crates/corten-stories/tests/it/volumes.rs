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

//! Images: in, out, names.

use crate::daemon;

#[test]
fn an_image_comes_out_as_it_went_in() {
    let Some(daemon) = daemon("images") else { return };
    assert_eq!(daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]), "busybox:latest");
    let id = daemon.ok(&["images", "-q", "--no-trunc"]);
    daemon.ok(&["tag", "busybox", "app/box:1.0"]);
    let archive = daemon.folder().join("saved.tar").display().to_string();
    daemon.ok(&["save", "-o", &archive, "app/box:1.0"]);
    assert_eq!(daemon.ok(&["rmi", "app/box:1.0"]), "Untagged: app/box:1.0");
    let removed = daemon.ok(&["rmi", "busybox"]);
    assert!(
        removed.contains("Untagged: busybox:latest") && removed.contains(&format!("Deleted: {id}")),
        "{removed}"
    );
    assert_eq!(daemon.ok(&["images", "-q"]), "");
    let left: Vec<_> =
        std::fs::read_dir(daemon.data_root().join("blobs/sha256")).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(daemon.ok(&["load", "-i", &archive]).lines().last(), Some("Loaded image: app/box:1.0"));
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc"]), id, "the same bytes have the same digest");
    assert_eq!(daemon.ok(&["run", "--rm", "app/box:1.0", "echo", "runs"]), "runs");
}

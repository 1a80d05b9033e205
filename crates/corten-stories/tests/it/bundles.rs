//! Images without a registry: bundles, and straight to another machine.

use corten_testing::daemon::{ScratchDaemon, program};
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::Registry;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Bytes of the layer that all images share.
const LARGE: usize = 4 << 20;

/// A registry with `app:1` and `app:2`, which differ in a small layer.
fn filled() -> Registry {
    let registry = Registry::start();
    let mut seed = 1_u32;
    let large: Vec<u8> = (0..LARGE)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .collect();
    for text in ["1", "2"] {
        let layers = [
            tar(&[Entry::File("large", 0o644, &large)]),
            tar(&[Entry::File("small", 0o644, text.as_bytes())]),
        ];
        registry.add_tars("app", text, &layers, <[u8]>::to_vec);
    }
    registry
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).expect("the file").len()
}

/// The image holds what was pushed.
fn check(daemon: &ScratchDaemon, image: &str, small: &str) {
    daemon.ok(&["create", "--pull", "never", "--name", "look", image]);
    let into = daemon.folder().join("out");
    daemon.ok(&["cp", "look:/small", text(&into)]);
    assert_eq!(std::fs::read_to_string(&into).expect("it"), small);
    daemon.ok(&["cp", "look:/large", text(&into)]);
    assert_eq!(length(&into), LARGE as u64);
    daemon.ok(&["rm", "look"]);
}

#[test]
fn a_bundle_brings_what_the_other_side_lacks() {
    if !corten_testing::need_root() {
        return;
    }
    let registry = filled();
    let (here, there) = (ScratchDaemon::start("bundle-a", &[]), ScratchDaemon::start("bundle-b", &[]));
    let (one, two) = (format!("{}/app:1", registry.host()), format!("{}/app:2", registry.host()));
    for name in [&one, &two] {
        here.ok(&["pull", "-q", name]);
    }
    let file = |name: &str| here.folder().join(name);
    let (first, second, third, both) = (file("first"), file("second"), file("third"), file("both"));
    here.ok(&["image", "bundle", "-o", text(&first), &one]);
    here.ok(&["image", "bundle", "-o", text(&second), "--since", text(&first), &two]);
    here.ok(&["image", "bundle", "-o", text(&both), &one, &two]);
    assert!(length(&second) < 64 << 10, "{}", length(&second));
    assert!(length(&both) < length(&first) + (64 << 10), "the layer that they share is there once");

    let said = there.corten(&["load", "-i", text(&second)]);
    let words = "it was made for where 1 of its layers are already";
    assert!(said.code == 1 && said.err.contains(words), "{} {}", said.out, said.err);
    assert_eq!(there.ok(&["images", "-q"]), "");
    there.ok(&["load", "-i", text(&first)]);
    there.ok(&["load", "-i", text(&second)]);
    check(&there, &one, "1");
    check(&there, &two, "2");
    let ids = |daemon: &ScratchDaemon| daemon.ok(&["images", "-q", "--no-trunc"]);
    assert_eq!(ids(&there), ids(&here));

    // Against what the other side says that it has.
    let inventory = file("inventory");
    std::fs::write(&inventory, there.ok(&["image", "bundle", "--inventory"])).expect("a file");
    here.ok(&["image", "bundle", "-o", text(&third), "--since", text(&inventory), &one, &two]);
    assert!(length(&third) < 64 << 10, "{}", length(&third));
    there.ok(&["load", "-i", text(&third)]);
    let wrong = here.corten(&["image", "bundle", "-o", text(&third), "--since", text(&file("none")), &one]);
    assert_eq!(wrong.code, 1);
    std::fs::write(&inventory, "what").expect("a file");
    let wrong = here.corten(&["image", "bundle", "--since", text(&inventory), &one]);
    assert!(wrong.err.contains("neither a bundle nor an inventory"), "{}", wrong.err);
}

/// A folder with an `ssh` that runs what it is told on this machine, at another daemon.
pub(crate) fn stand_in(there: &ScratchDaemon) -> String {
    let folder = there.folder().join("bin");
    std::fs::create_dir(&folder).expect("a folder");
    let script = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\n[ \"$2 $3\" = 'far docker' ] || exit 9\nshift 3\nexec {} -H unix://{} \"$@\"\n",
        program().display(),
        there.socket().display()
    );
    std::fs::write(folder.join("ssh"), script).expect("a file");
    std::fs::set_permissions(folder.join("ssh"), std::fs::Permissions::from_mode(0o755)).expect("its mode");
    format!("{}:/usr/bin:/bin", folder.display())
}

/// The bytes that `image send` says that it sent, in its own units.
fn sent(said: &str) -> String {
    let line = said.lines().find(|line| line.starts_with("Sent ")).unwrap_or_default();
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn images_go_to_another_machine_without_what_it_has() {
    if !corten_testing::need_root() {
        return;
    }
    let registry = filled();
    let (here, there) = (ScratchDaemon::start("send-a", &[]), ScratchDaemon::start("send-b", &[]));
    let (one, two) = (format!("{}/app:1", registry.host()), format!("{}/app:2", registry.host()));
    for name in [&one, &two] {
        here.ok(&["pull", "-q", name]);
    }
    let path = stand_in(&there);
    let send = |image: &str| {
        let output =
            here.command(&["image", "send", "far", image]).env("PATH", &path).output().expect("it runs");
        let said = corten_testing::daemon::Said::from(output);
        assert_eq!(said.code, 0, "{}", said.err);
        said.out
    };
    let said = send(&one);
    assert!(sent(&said).ends_with("MB"), "{said}");
    check(&there, &one, "1");
    let said = send(&two);
    assert!(sent(&said).ends_with("kB"), "only the small layer: {said}");
    check(&there, &two, "2");
    let missing = here.corten(&["image", "send", "far", "none"]);
    assert!(missing.code == 1 && missing.err.contains("No such image: none"), "{}", missing.err);
}

#[test]
fn what_refers_to_an_image_goes_with_it() {
    if !corten_testing::need_root() {
        return;
    }
    let (registry, other) = (filled(), Registry::start());
    let (here, there) = (ScratchDaemon::start("refer-a", &[]), ScratchDaemon::start("refer-b", &[]));
    let name = format!("{}/app:1", registry.host());
    // Plain layers go out compressed, under another manifest: an image of compressed ones stays what it is.
    let packed = format!("{}/packed:1", registry.host());
    here.ok(&["pull", "-q", &name]);
    here.ok(&["tag", &name, &packed]);
    here.ok(&["push", "-q", &packed]);
    here.ok(&["rmi", &name, &packed]);
    let sbom = here.folder().join("sbom.json");
    std::fs::write(&sbom, r#"{"spdxVersion": "SPDX-2.3", "name": "of the image"}"#).expect("a file");
    here.ok(&["artifact", "attach", &packed, text(&sbom)]);
    let list = |daemon: &ScratchDaemon, name: &str| {
        daemon.ok(&["artifact", "ls", "--format", "{{.Digest}} {{.Type}}", name])
    };
    let listed = list(&here, &packed);
    assert!(listed.ends_with("application/spdx+json"), "{listed}");

    here.ok(&["pull", "-q", &packed]);
    let archive = here.folder().join("archive");
    let holds = |text: &str| {
        let bytes = std::fs::read(&archive).expect("the archive");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    here.ok(&["image", "bundle", "-o", text(&archive), &packed]);
    assert!(!holds("of the image"), "it was not asked for");
    here.ok(&["pull", "-q", "--referrers", &packed]);
    // A pull without leaves what is here.
    here.ok(&["pull", "-q", &packed]);
    here.restart();
    here.ok(&["save", "-o", text(&archive), &packed]);
    assert!(!holds("of the image"), "Docker's archives hold images");
    here.ok(&["image", "bundle", "-o", text(&archive), &packed]);
    assert!(holds("of the image"));

    there.ok(&["load", "-i", text(&archive)]);
    assert_eq!(there.ok(&["images", "-q"]).lines().count(), 1, "what refers to an image is none");
    check(&there, &packed, "1");
    let copy = format!("{}/copy:1", other.host());
    there.ok(&["tag", &packed, &copy]);
    there.ok(&["push", "-q", &copy]);
    assert_eq!(list(&there, &copy), listed, "it is there too");
    // It goes with the image.
    let left = |daemon: &ScratchDaemon| daemon.ok(&["image", "bundle", "--inventory"]).lines().count();
    let before = left(&there);
    there.ok(&["rmi", &packed, &copy]);
    assert!(before - left(&there) >= 7, "{before} {}", left(&there));
}

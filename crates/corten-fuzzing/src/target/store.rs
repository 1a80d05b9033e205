//! A whole archive of images, loaded into a store.

use std::cell::OnceCell;
use std::io::Cursor;
use std::path::PathBuf;

use corten_layer::tar::{Entry, EntryKind, Writer};
use corten_std::Paths;
use corten_store::{LoadEvent, Store, StoreOptions};

use super::layer::with_sums;
use crate::Target;

pub(super) const ARCHIVE: Target = Target {
    name: "image_archive",
    run: archive,
    seeds: || {
        let entry = |path: &str, content: &[u8]| {
            let size = content.len() as u64;
            Entry {
                path: path.as_bytes().to_vec(),
                kind: EntryKind::File,
                mode: 0o644,
                size,
                ..Entry::default()
            }
        };
        let whole = |files: &[(&str, &[u8])]| {
            let mut writer = Writer::new(Vec::new());
            for (path, content) in files {
                writer.append(&entry(path, content), content).expect("an entry");
            }
            writer.finish().expect("an archive")
        };
        let layer = whole(&[("f", b"x")]);
        let digest = corten_oci::Digest::of(&layer);
        let config = format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{digest}\"]}}}}"
        );
        let config_digest = corten_oci::Digest::of(&config);
        let manifest = format!(
            "{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"{config_digest}\",\"size\":{}}},\"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"{digest}\",\"size\":{}}}]}}",
            config.len(),
            layer.len()
        );
        let manifest_digest = corten_oci::Digest::of(&manifest);
        let index = format!(
            "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{manifest_digest}\",\"size\":{},\"annotations\":{{\"io.containerd.image.name\":\"docker.io/library/a:1\"}}}}]}}",
            manifest.len()
        );
        let blob = |digest: &corten_oci::Digest| format!("blobs/sha256/{}", digest.hex());
        vec![
            whole(&[
                ("config.json", config.as_bytes()),
                ("layer.tar", &layer),
                ("manifest.json", br#"[{"Config":"config.json","RepoTags":["a:1"],"Layers":["layer.tar"]}]"#),
            ]),
            whole(&[
                ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
                (&blob(&digest), &layer),
                (&blob(&config_digest), config.as_bytes()),
                (&blob(&manifest_digest), manifest.as_bytes()),
                ("index.json", index.as_bytes()),
            ]),
        ]
    },
    words: &[
        "index.json",
        "manifest.json",
        "blobs/sha256/",
        "../",
        "layer.tar",
        "[",
        "]",
        "{",
        "}",
        "\"sha256:",
        "null",
    ],
};

/// A store of this thread, removed with it.
struct Scratch {
    folder: PathBuf,
    store: Store,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

thread_local! {
    static STORE: OnceCell<Scratch> = const { OnceCell::new() };
}

/// What is refused leaves nothing behind; what is loaded is whole.
fn archive(input: &[u8]) {
    let bytes = with_sums(input);
    STORE.with(|cell| {
        let scratch = cell.get_or_init(|| {
            let thread = format!("{:?}", std::thread::current().id());
            let folder =
                std::env::temp_dir().join(format!("corten-fuzz-store-{}-{thread}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            let paths = Paths::new(folder.join("data"), folder.join("exec"));
            let store = Store::open(&paths, StoreOptions::default()).expect("a store");
            Scratch { folder, store }
        });
        let images = scratch.store.images();
        let before = images.list().expect("the list").len();
        let loaded = images.load(Cursor::new(bytes), &mut |_: LoadEvent| ());
        if loaded.is_err() {
            assert_eq!(images.list().expect("the list").len(), before);
        }
        for image in images.list().expect("the list") {
            let _ = images.remove(&image.id.to_string(), true, &|_| Vec::new());
        }
        assert_eq!(images.list().expect("the list").len(), 0);
    });
}

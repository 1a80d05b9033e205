//! What the registry has, put there without a push.

use super::{Registry, digest};

impl Registry {
    /// Takes in an image for this machine whose layers have these tars, each as `pack` makes it; its command is there for nobody.
    /// Gives its manifest's digest.
    pub fn add_tars(
        &self,
        repository: &str,
        tag: &str,
        tars: &[Vec<u8>],
        pack: impl Fn(&[u8]) -> Vec<u8>,
    ) -> String {
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "config": {"Cmd": ["/none"]},
            "rootfs": {"type": "layers", "diff_ids": tars.iter().map(|tar| digest(tar)).collect::<Vec<_>>()},
        });
        let layers: Vec<Vec<u8>> = tars.iter().map(|tar| pack(tar)).collect();
        self.add_image(repository, tag, config.to_string().as_bytes(), &layers)
    }

    /// Takes in an image of one configuration and some layers (tars, plain or in gzip); gives its manifest's digest.
    pub fn add_image(&self, repository: &str, tag: &str, config: &[u8], layers: &[Vec<u8>]) -> String {
        let descriptor = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": kind,
            "config": descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": layers
                .iter()
                .map(|layer| {
                    let end = match layer.get(..4) {
                        Some([0x1f, 0x8b, ..]) => "+gzip",
                        Some([0x28, 0xb5, 0x2f, 0xfd]) => "+zstd",
                        _ => "",
                    };
                    descriptor(&format!("application/vnd.oci.image.layer.v1.tar{end}"), layer)
                })
                .collect::<Vec<_>>(),
        });
        let bytes = manifest.to_string().into_bytes();
        let name = digest(&bytes);
        let mut state = self.state();
        for blob in layers.iter().map(Vec::as_slice).chain([config]) {
            state.blobs.insert(digest(blob), blob.to_vec());
        }
        for reference in [format!("{repository}:{tag}"), format!("{repository}@{name}")] {
            state.manifests.insert(reference, (kind.to_owned(), bytes.clone()));
        }
        name
    }

    /// Takes in a manifest or index as it is.
    pub fn add_manifest(&self, reference: &str, kind: &str, bytes: &[u8]) {
        self.state().manifests.insert(reference.to_owned(), (kind.to_owned(), bytes.to_vec()));
    }

    /// Takes in a blob under a name, whether or not that is its digest.
    pub fn add_blob(&self, name: &str, bytes: &[u8]) {
        self.state().blobs.insert(name.to_owned(), bytes.to_vec());
    }
}

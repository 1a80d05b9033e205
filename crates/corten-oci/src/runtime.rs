//! Runtime documents: what a container is, told to the runtime (OCI runtime specification, `config.json`).

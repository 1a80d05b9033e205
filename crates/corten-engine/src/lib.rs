//! Containers, images, networks, volumes, exec, logs and events as operations on plain structs.

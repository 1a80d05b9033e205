//! The table of commands. A command lives in the file that its full name says: `container run` in
//! `container/run.rs`.

pub(crate) mod container;
pub(crate) mod image;

use crate::entry::Entry;

/// Groups and what they are about.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("builder", "Manage builds"),
    ("container", "Manage containers"),
    ("context", "Manage contexts"),
    ("image", "Manage images"),
    ("network", "Manage networks"),
    ("system", "Manage Docker"),
    ("volume", "Manage volumes"),
];

/// Every command.
pub(crate) static ENTRIES: &[Entry] = &[
    container::create::ENTRY,
    container::exec::ENTRY,
    container::logs::ENTRY,
    container::ls::ENTRY,
    container::rm::ENTRY,
    container::run::ENTRY,
    image::load::ENTRY,
    image::ls::ENTRY,
    image::unbuilt::BUILD,
    image::unbuilt::LOGIN,
    image::unbuilt::LOGOUT,
    image::unbuilt::PULL,
    image::unbuilt::PUSH,
    image::unbuilt::SEARCH,
];

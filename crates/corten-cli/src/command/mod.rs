//! The table of commands. A command lives in the file that its full name says: `container run` in
//! `container/run.rs`.

mod archive;
pub(crate) mod artifact;
pub(crate) mod completion;
pub(crate) mod container;
pub(crate) mod context;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod manifest;
pub(crate) mod network;
pub(crate) mod plugin;
pub(crate) mod search;
pub(crate) mod system;
pub(crate) mod uninstall;
pub(crate) mod version;
pub(crate) mod volume;

use crate::entry::Entry;
use crate::error::Result;
use crate::ui::Ui;
use corten_std::size;
use std::cmp::Ordering;

/// Groups and what they are about.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("artifact", "Manage artifacts in registries"),
    ("container", "Manage containers"),
    ("context", "Manage contexts"),
    ("image", "Manage images"),
    ("manifest", "Manage Docker image manifests and manifest lists"),
    ("network", "Manage networks"),
    ("plugin", "Manage plugins"),
    ("system", "Manage Docker"),
    ("volume", "Manage volumes"),
];

/// Every command.
pub(crate) static ENTRIES: &[Entry] = &[
    artifact::attach::ENTRY,
    artifact::copy::ENTRY,
    artifact::inspect::ENTRY,
    artifact::ls::ENTRY,
    artifact::pull::ENTRY,
    artifact::push::ENTRY,
    artifact::rm::ENTRY,
    completion::ENTRY,
    container::attach::ENTRY,
    container::commit::ENTRY,
    container::cp::ENTRY,
    container::create::ENTRY,
    container::diff::ENTRY,
    container::exec::ENTRY,
    container::export::ENTRY,
    container::inspect::ENTRY,
    container::kill::ENTRY,
    container::logs::ENTRY,
    container::ls::ENTRY,
    container::pause::ENTRY,
    container::port::ENTRY,
    container::prune::ENTRY,
    container::rename::ENTRY,
    container::restart::ENTRY,
    container::rm::ENTRY,
    container::run::ENTRY,
    container::start::ENTRY,
    container::stats::ENTRY,
    container::stop::ENTRY,
    container::top::ENTRY,
    container::unpause::ENTRY,
    container::update::ENTRY,
    container::wait::ENTRY,
    context::create::ENTRY,
    context::export::ENTRY,
    context::import::ENTRY,
    context::inspect::ENTRY,
    context::ls::ENTRY,
    context::rm::ENTRY,
    context::show::ENTRY,
    context::update::ENTRY,
    context::r#use::ENTRY,
    image::bundle::ENTRY,
    image::compact::ENTRY,
    image::history::ENTRY,
    image::import::ENTRY,
    image::inspect::ENTRY,
    image::load::ENTRY,
    image::ls::ENTRY,
    image::prune::ENTRY,
    image::pull::ENTRY,
    image::push::ENTRY,
    image::rm::ENTRY,
    image::save::ENTRY,
    image::send::ENTRY,
    image::tag::ENTRY,
    image::unbuilt::BUILD,
    image::verify::ENTRY,
    inspect::ENTRY,
    install::ENTRY,
    login::ENTRY,
    logout::ENTRY,
    manifest::annotate::ENTRY,
    manifest::create::ENTRY,
    manifest::inspect::ENTRY,
    manifest::push::ENTRY,
    manifest::rm::ENTRY,
    network::connect::ENTRY,
    network::create::ENTRY,
    network::disconnect::ENTRY,
    network::inspect::ENTRY,
    network::ls::ENTRY,
    network::prune::ENTRY,
    network::rm::ENTRY,
    plugin::create::ENTRY,
    plugin::disable::ENTRY,
    plugin::enable::ENTRY,
    plugin::inspect::ENTRY,
    plugin::install::ENTRY,
    plugin::ls::ENTRY,
    plugin::push::ENTRY,
    plugin::rm::ENTRY,
    plugin::set::ENTRY,
    plugin::upgrade::ENTRY,
    search::ENTRY,
    system::df::ENTRY,
    system::dial_stdio::ENTRY,
    system::events::ENTRY,
    system::info::ENTRY,
    system::prune::ENTRY,
    uninstall::ENTRY,
    version::ENTRY,
    volume::create::ENTRY,
    volume::inspect::ENTRY,
    volume::ls::ENTRY,
    volume::prune::ENTRY,
    volume::rm::ENTRY,
];

/// What a prune did: the names under their title, and the space.
pub(crate) fn report_prune(
    ui: &mut Ui,
    title: &str,
    deleted: &[String],
    reclaimed: Option<u64>,
) -> Result<()> {
    if !deleted.is_empty() {
        ui.line(title)?;
        for name in deleted {
            ui.line(name)?;
        }
        ui.line("")?;
    }
    match reclaimed {
        Some(bytes) => ui.line(format!("Total reclaimed space: {}", size::human(bytes as f64))),
        None => Ok(()),
    }
}

/// Names in the order people expect: runs of digits by their number.
pub(crate) fn natural(one: &str, other: &str) -> Ordering {
    fn next(text: &str) -> Option<(&str, &str)> {
        let first = text.chars().next()?;
        let same = |letter: char| letter.is_ascii_digit() == first.is_ascii_digit();
        let end = text.find(|letter| !same(letter)).unwrap_or(text.len());
        Some(text.split_at(end))
    }
    let (mut left, mut right) = (one, other);
    loop {
        match (next(left), next(right)) {
            (Some((a, left_rest)), Some((b, right_rest))) => {
                let order = match (a.parse::<u128>(), b.parse::<u128>()) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    _ => a.cmp(b),
                };
                if order != Ordering::Equal {
                    return order;
                }
                (left, right) = (left_rest, right_rest);
            }
            (None, None) => return one.cmp(other),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_numbers_sort_by_the_number() {
        let mut names = ["web10", "web2", "db", "web2a", "web"];
        names.sort_by(|one, other| natural(one, other));
        assert_eq!(names, ["db", "web", "web2", "web2a", "web10"]);
    }
}

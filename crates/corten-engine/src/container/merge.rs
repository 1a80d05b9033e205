//! What an image says and what the user asked for, made one.

use crate::error::{EngineError, Result};
use corten_api::container::{ContainerConfig, Healthcheck};
use corten_oci::image::ContainerDefaults;

/// Fills a request with its image's defaults, by Docker's rules: what the user set wins; maps are joined; an image's
/// command counts only where the user gave neither entrypoint nor command.
pub(crate) fn merge(user: &mut ContainerConfig, image: &ContainerDefaults) {
    if user.user.is_empty() {
        user.user.clone_from(&image.user);
    }
    for port in image.exposed_ports.iter().flatten() {
        user.exposed_ports.entry(port.0.clone()).or_default();
    }
    merge_env(&mut user.env, image.env.as_deref().unwrap_or_default());
    for (label, value) in image.labels.iter().flatten() {
        user.labels.entry(label.clone()).or_insert_with(|| value.clone());
    }
    if user.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if user.cmd.as_ref().is_none_or(Vec::is_empty) {
            user.cmd.clone_from(&image.cmd);
        }
        if user.entrypoint.is_none() {
            user.entrypoint.clone_from(&image.entrypoint);
        }
    }
    merge_healthcheck(user, image);
    if user.working_dir.is_empty() {
        user.working_dir.clone_from(&image.working_dir);
    }
    if let Some(volumes) = image.volumes.as_ref().filter(|volumes| !volumes.is_empty()) {
        let all = user.volumes.get_or_insert_default();
        for path in volumes.keys() {
            all.entry(path.clone()).or_default();
        }
    }
    // Docker keeps none where nothing is in it.
    user.volumes = user.volumes.take().filter(|volumes| !volumes.is_empty());
    if user.stop_signal.is_empty() {
        user.stop_signal.clone_from(&image.stop_signal);
    }
    if user.stop_timeout.is_none() {
        user.stop_timeout = image.stop_timeout;
    }
    if user.shell.as_ref().is_none_or(Vec::is_empty) {
        user.shell.clone_from(&image.shell);
    }
}

fn merge_env(user: &mut Option<Vec<String>>, image: &[String]) {
    if image.is_empty() {
        return;
    }
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let entries = user.get_or_insert_default();
    let given: std::collections::HashSet<String> = entries.iter().map(|entry| name(entry)).collect();
    entries.extend(image.iter().filter(|entry| !given.contains(&name(entry))).cloned());
}

fn merge_healthcheck(user: &mut ContainerConfig, image: &ContainerDefaults) {
    let Some(image) = &image.healthcheck else { return };
    let mine = user.healthcheck.get_or_insert_with(Healthcheck::default);
    if mine.test.as_ref().is_none_or(Vec::is_empty) {
        mine.test = Some(image.test.clone());
    }
    let fill = |mine: &mut i64, image: i64| {
        if *mine == 0 {
            *mine = image;
        }
    };
    fill(&mut mine.interval, image.interval);
    fill(&mut mine.timeout, image.timeout);
    fill(&mut mine.start_period, image.start_period);
    fill(&mut mine.start_interval, image.start_interval);
    fill(&mut mine.retries, image.retries);
}

/// What a container's configuration leaves to an image that is made of it, and to its containers.
#[expect(clippy::zero_sized_map_values, reason = "the documents write sets as maps to empty objects")]
pub(crate) fn defaults_of(config: &ContainerConfig) -> ContainerDefaults {
    let set = |keys: &corten_api::null::Set| {
        let set = keys.keys().map(|key| (key.clone(), corten_oci::image::Empty {}));
        (!keys.is_empty()).then(|| set.collect::<std::collections::BTreeMap<_, _>>())
    };
    ContainerDefaults {
        user: config.user.clone(),
        exposed_ports: set(&config.exposed_ports),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        volumes: config.volumes.as_ref().and_then(set),
        working_dir: config.working_dir.clone(),
        labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout,
        healthcheck: config.healthcheck.as_ref().map(|check| corten_oci::image::Healthcheck {
            test: check.test.clone().unwrap_or_default(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        on_build: config.on_build.clone(),
        shell: config.shell.clone(),
        extra: corten_oci::image::Extra::new(),
    }
}

/// The program and its arguments of a merged configuration; an entrypoint `[""]` is none. 400 where nothing is left.
pub(super) fn command(config: &mut ContainerConfig) -> Result<(String, Vec<String>)> {
    if config.entrypoint.as_ref().is_some_and(|words| words.len() == 1 && words[0].is_empty()) {
        config.entrypoint = None;
    }
    let mut words = config
        .entrypoint
        .iter()
        .flatten()
        .chain(config.cmd.iter().flatten())
        .cloned()
        .collect::<Vec<String>>()
        .into_iter();
    match words.next() {
        Some(path) => Ok((path, words.collect())),
        None => Err(EngineError::invalid("no command specified")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    fn image() -> ContainerDefaults {
        ContainerDefaults {
            user: "5:6".to_owned(),
            env: strings(&["PATH=/bin", "A=image"]),
            entrypoint: strings(&["echo", "entry"]),
            cmd: strings(&["cmd"]),
            labels: Some(
                [("over", "image"), ("from", "image")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            ),
            volumes: Some([("/data".to_owned(), corten_oci::image::Empty {})].into()),
            working_dir: "/w".to_owned(),
            stop_signal: "SIGINT".to_owned(),
            ..ContainerDefaults::default()
        }
    }

    #[track_caller]
    fn check_command(entrypoint: Option<Vec<String>>, cmd: Option<Vec<String>>, wanted: &[&str]) {
        let mut config = ContainerConfig { entrypoint, cmd, ..ContainerConfig::default() };
        merge(&mut config, &image());
        let (path, arguments) = command(&mut config).unwrap();
        assert_eq!(std::iter::once(path).chain(arguments).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn commands() {
        check_command(None, None, &["echo", "entry", "cmd"]);
        check_command(None, strings(&["arg"]), &["echo", "entry", "arg"]);
        check_command(strings(&["printf"]), strings(&["x"]), &["printf", "x"]);
        check_command(strings(&["printf"]), None, &["printf"]);
        check_command(strings(&[""]), strings(&["echo", "cleared"]), &["echo", "cleared"]);
        let mut config = ContainerConfig { entrypoint: strings(&[""]), ..ContainerConfig::default() };
        merge(&mut config, &image());
        assert_eq!(command(&mut config).unwrap_err().to_string(), "no command specified");
    }

    #[test]
    fn the_user_wins_and_maps_are_joined() {
        let mut config = ContainerConfig {
            env: strings(&["A=user", "B"]),
            labels: [("over".to_owned(), "user".to_owned())].into(),
            ..ContainerConfig::default()
        };
        merge(&mut config, &image());
        assert_eq!(config.env, strings(&["A=user", "B", "PATH=/bin"]));
        assert_eq!(config.labels["over"], "user");
        assert_eq!(config.labels["from"], "image");
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("5:6", "/w"));
        assert_eq!(config.stop_signal, "SIGINT");
        assert!(config.volumes.unwrap().contains_key("/data"));
    }
}

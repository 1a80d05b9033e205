//! Changes in Dockerfile form, as `commit --change` and `import --change` take them.
//!
//! ```text
//! CMD ["a", "b"]   ENTRYPOINT …   ENV A=b   EXPOSE 80   HEALTHCHECK …   LABEL a=b   ONBUILD …   SHELL […]
//! STOPSIGNAL INT   USER 1:2   VOLUME /data   WORKDIR /srv
//! ```
//!
//! The text is a user's; it only ever changes the configuration that it is applied to.

use super::word::{self, Words};
use crate::container::parse_signal;
use crate::error::{EngineError, Result};
use corten_api::container::{ContainerConfig, Healthcheck};
use std::path::{Component, Path, PathBuf};

/// The shell of `CMD text` where none is set.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Largest port.
const MAX_PORT: u32 = 65_535;

/// Applies changes in their order. Nothing of `config` is changed where one of them is wrong.
pub(crate) fn apply(config: &mut ContainerConfig, changes: &[String]) -> Result<()> {
    let mut changed = config.clone();
    let mut command_set = false;
    for line in lines(&changes.join("\n")) {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        instruction(&mut changed, &name.to_ascii_uppercase(), rest.trim(), &mut command_set).map_err(
            |error| error.with_hint("a change is one Dockerfile instruction, such as `CMD [\"sh\"]`"),
        )?;
    }
    *config = changed;
    Ok(())
}

/// The instructions of a text: comments and empty lines are left out, lines that end with a backslash are joined.
fn lines(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with('#') || (trimmed.is_empty() && open.is_empty()) {
            continue;
        }
        if let Some(part) = trimmed.strip_suffix('\\') {
            open.push_str(part);
            continue;
        }
        open.push_str(trimmed);
        all.push(std::mem::take(&mut open));
    }
    if !open.is_empty() {
        all.push(open);
    }
    all
}

fn instruction(config: &mut ContainerConfig, name: &str, rest: &str, command_set: &mut bool) -> Result<()> {
    let environment = config.env.clone().unwrap_or_default();
    let expand = |text: &str| word::expand(text, &environment).map_err(EngineError::invalid);
    let needs = |what: &str| EngineError::invalid(format!("{name} requires {what}"));
    if rest.is_empty() && !matches!(name, "CMD" | "ENTRYPOINT") {
        return Err(if is_known(name) { needs("at least one argument") } else { unknown(name) });
    }
    match name {
        "CMD" => {
            config.cmd = Some(command(config, rest));
            *command_set = true;
        }
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(config, rest));
            // A command that belongs to another program is dropped.
            if !*command_set {
                config.cmd = None;
            }
        }
        "ENV" => {
            for (key, value) in pairs(name, rest, &expand)? {
                let entry = format!("{key}={value}");
                let entries = config.env.get_or_insert_default();
                let same = |other: &String| other.split('=').next() == Some(key.as_str());
                match entries.iter().position(same) {
                    Some(at) => entries[at] = entry,
                    None => entries.push(entry),
                }
            }
        }
        "LABEL" => config.labels.extend(pairs(name, rest, &expand)?),
        "EXPOSE" => {
            for text in rest.split_ascii_whitespace() {
                for text in expand(text)?.split_ascii_whitespace() {
                    for port in ports(text)? {
                        config.exposed_ports.entry(port).or_default();
                    }
                }
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        "ONBUILD" => {
            let trigger = rest.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if trigger == "ONBUILD" {
                return Err(EngineError::invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"));
            }
            if matches!(trigger.as_str(), "FROM" | "MAINTAINER") {
                return Err(EngineError::invalid(format!("{trigger} isn't allowed as an ONBUILD trigger")));
            }
            config.on_build.get_or_insert_default().push(rest.to_owned());
        }
        "SHELL" => match word::json_list(rest) {
            Some(words) if !words.is_empty() => config.shell = Some(words),
            _ => return Err(needs("the arguments to be in JSON form")),
        },
        "STOPSIGNAL" => {
            let signal = expand(rest)?;
            parse_signal(&signal)?;
            config.stop_signal = signal;
        }
        "USER" => config.user = expand(rest)?,
        "VOLUME" => {
            let words = word::json_list(rest)
                .unwrap_or_else(|| rest.split_ascii_whitespace().map(str::to_owned).collect());
            for text in words {
                let path = expand(&text)?;
                if path.trim().is_empty() {
                    return Err(EngineError::invalid("VOLUME specified can not be an empty string"));
                }
                config.volumes.get_or_insert_default().entry(path.trim().to_owned()).or_default();
            }
        }
        "WORKDIR" => config.working_dir = folder(&config.working_dir, &expand(rest)?),
        _ => return Err(unknown(name)),
    }
    Ok(())
}

fn is_known(name: &str) -> bool {
    matches!(
        name,
        "ENV"
            | "LABEL"
            | "EXPOSE"
            | "HEALTHCHECK"
            | "ONBUILD"
            | "SHELL"
            | "STOPSIGNAL"
            | "USER"
            | "VOLUME"
            | "WORKDIR"
    )
}

fn unknown(name: &str) -> EngineError {
    EngineError::invalid(format!("{} is not a valid change command", name.to_ascii_lowercase()))
}

/// A list in JSON as it is, anything else for the shell.
fn command(config: &ContainerConfig, rest: &str) -> Vec<String> {
    word::json_list(rest).unwrap_or_else(|| {
        let shell = config.shell.clone().filter(|shell| !shell.is_empty());
        let mut words = shell.unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
        if !rest.is_empty() {
            words.push(rest.to_owned());
        }
        words
    })
}

/// `a=b "c d"=e`, or in the old form `a b c`.
fn pairs(name: &str, rest: &str, expand: &dyn Fn(&str) -> Result<String>) -> Result<Vec<(String, String)>> {
    let words: Vec<&str> = Words::new(rest).collect();
    if !words.first().is_some_and(|word| word.contains('=')) {
        let (key, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| EngineError::invalid(format!("{name} must have two arguments")))?;
        return Ok(vec![(expand(key)?, expand(value.trim())?)]);
    }
    let mut all = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            EngineError::invalid(format!(
                "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
            ))
        })?;
        let key = expand(key)?;
        if key.is_empty() {
            return Err(EngineError::invalid(format!("{name} names can not be blank")));
        }
        all.push((key, expand(value)?));
    }
    Ok(all)
}

/// `80`, `80/udp`, `80-82/tcp`, each port with its protocol.
fn ports(text: &str) -> Result<Vec<String>> {
    let wrong = || EngineError::invalid(format!("invalid containerPort: {text}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(EngineError::invalid(format!("invalid proto: {protocol}")));
    }
    // What a published port would be is left out, as Docker does.
    let range = range.rsplit(':').next().unwrap_or(range);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|port| (1..=MAX_PORT).contains(port));
    let (first, last) = number(first).zip(number(last)).ok_or_else(wrong)?;
    if first > last {
        return Err(wrong());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// `NONE`, or options and `CMD …`.
fn healthcheck(rest: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| EngineError::invalid(format!("Missing a value on flag: {option}")))?;
        let duration = || -> Result<i64> {
            let duration = corten_std::duration::parse_go(value)
                .ok_or_else(|| EngineError::invalid(format!("time: invalid duration {value:?}")))?;
            i64::try_from(duration.as_nanos())
                .map_err(|_| EngineError::invalid(format!("time: invalid duration {value:?}")))
        };
        match key {
            "interval" => check.interval = duration()?,
            "timeout" => check.timeout = duration()?,
            "start-period" => check.start_period = duration()?,
            "start-interval" => check.start_interval = duration()?,
            "retries" => {
                check.retries = value
                    .parse()
                    .ok()
                    .filter(|retries| *retries >= 0)
                    .ok_or_else(|| EngineError::invalid(format!("--retries cannot be `{value}`")))?;
            }
            _ => return Err(EngineError::invalid(format!("Unknown flag: {key}"))),
        }
        rest = after.trim_start();
    }
    let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let arguments = arguments.trim();
    check.test = Some(match kind.to_ascii_uppercase().as_str() {
        "NONE" if arguments.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(EngineError::invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" if arguments.is_empty() => {
            return Err(EngineError::invalid("Missing command after HEALTHCHECK CMD"));
        }
        "CMD" => match word::json_list(arguments) {
            Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            None => vec!["CMD-SHELL".to_owned(), arguments.to_owned()],
        },
        _ => {
            return Err(EngineError::invalid(format!(
                "Unknown type {:?} in HEALTHCHECK (try CMD)",
                kind.to_ascii_uppercase()
            )));
        }
    });
    Ok(check)
}

/// A working folder, by its text alone; a relative one lies in the one before.
fn folder(before: &str, typed: &str) -> String {
    let mut path = PathBuf::from("/");
    for part in Path::new(before).join(typed).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<ContainerConfig> {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        let mut config = ContainerConfig::default();
        apply(&mut config, &changes).map(|()| config)
    }

    fn strings(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn each_instruction() {
        let config = changed(&[
            "CMD [\"cat\", \"/f\"]",
            "env A=1 B=\"two words\" C=$A-x",
            "ENV D ${B:-none} end",
            "LABEL l=m n='o p'",
            "EXPOSE 80 90-91/udp",
            "STOPSIGNAL SIGINT",
            "USER 1:2",
            "VOLUME /a /b",
            "VOLUME [\"/c d\"]",
            "WORKDIR /w",
            "WORKDIR ../x/y",
            "ONBUILD RUN true",
            "HEALTHCHECK --interval=5s --retries=2 CMD true",
            "SHELL [\"/bin/ash\", \"-c\"]",
            "ENTRYPOINT echo hello",
        ])
        .unwrap();
        assert_eq!(config.cmd, strings(&["cat", "/f"]));
        assert_eq!(config.entrypoint, strings(&["/bin/ash", "-c", "echo hello"]));
        assert_eq!(config.env, strings(&["A=1", "B=two words", "C=-x", "D=two words end"]));
        assert_eq!(config.labels["n"], "o p");
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["80/tcp", "90/udp", "91/udp"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1:2", "/x/y"));
        assert_eq!(config.volumes.unwrap().keys().collect::<Vec<_>>(), ["/a", "/b", "/c d"]);
        assert_eq!(config.on_build, strings(&["RUN true"]));
        let check = config.healthcheck.unwrap();
        assert_eq!(check.test, strings(&["CMD-SHELL", "true"]));
        assert_eq!((check.interval, check.retries), (5_000_000_000, 2));
        assert_eq!(config.stop_signal, "SIGINT");
    }

    #[test]
    fn an_entrypoint_drops_a_command_that_is_not_its_own() {
        assert_eq!(changed(&["ENTRYPOINT [\"a\"]"]).unwrap().cmd, None);
        assert_eq!(changed(&["CMD [\"b\"]", "ENTRYPOINT [\"a\"]"]).unwrap().cmd, strings(&["b"]));
    }

    #[test]
    fn what_is_no_change_is_refused_and_changes_nothing() {
        for (change, text) in [
            ("RUN x", "run is not a valid change command"),
            ("NONSENSE", "nonsense is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            ("ENV A=1 B", "can't find = in \"B\""),
            ("LABEL =x", "LABEL names can not be blank"),
            ("EXPOSE x", "invalid containerPort: x"),
            ("EXPOSE 80/what", "invalid proto: what"),
            ("EXPOSE 0", "invalid containerPort: 0"),
            ("STOPSIGNAL WHAT", "invalid signal: WHAT"),
            ("HEALTHCHECK WHAT", "Unknown type \"WHAT\" in HEALTHCHECK"),
            ("HEALTHCHECK --interval=x CMD true", "invalid duration"),
            ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
            ("SHELL sh", "JSON form"),
            ("USER \"x", "unexpected end of statement"),
        ] {
            let error = changed(&["USER kept", change]).unwrap_err();
            assert!(error.to_string().contains(text), "{change}: {error}");
        }
        let mut config = ContainerConfig::default();
        apply(&mut config, &["USER a".to_owned(), "RUN b".to_owned()]).unwrap_err();
        assert_eq!(config, ContainerConfig::default());
    }

    #[test]
    fn lines_are_joined_and_comments_left_out() {
        assert_eq!(lines("# c\nENV A=1 \\\n  B=2\n\nUSER x"), ["ENV A=1 B=2", "USER x"]);
    }
}

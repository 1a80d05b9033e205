//! Who the person is to registries: `config.json` and the programs that keep secrets for it.

use crate::configuration::{self, Configuration};
use crate::context::Context;
use crate::error::{CliError, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use corten_oci::Reference;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// Docker Hub's key in `config.json`.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";
/// A helper's user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// What is sent to the daemon, and what stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Login {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) password: String,
    /// Name and password as one word; in the file alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) auth: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) serveraddress: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) identitytoken: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) registrytoken: String,
}

impl Login {
    /// The value of `X-Registry-Auth`.
    pub(crate) fn header(&self) -> Result<String> {
        let document = serde_json::to_vec(self).map_err(|error| CliError::said(error.to_string()))?;
        Ok(URL_SAFE.encode(document))
    }

    fn unpacked(mut self, address: &str) -> Self {
        if let Ok(pair) = STANDARD.decode(self.auth.trim())
            && let Some((name, password)) = String::from_utf8_lossy(&pair).split_once(':')
        {
            name.clone_into(&mut self.username);
            password.trim_end_matches('\0').clone_into(&mut self.password);
        }
        self.auth.clear();
        address.clone_into(&mut self.serveraddress);
        self
    }
}

/// What a helper answers and is given.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Secret {
    #[serde(rename = "ServerURL")]
    server_url: String,
    username: String,
    #[serde(rename = "Secret")]
    password: String,
}

/// The key of an image's registry.
pub(crate) fn key_of(name: &Reference) -> String {
    if name.domain() == corten_oci::reference::DEFAULT_DOMAIN {
        HUB.to_owned()
    } else {
        name.domain().to_owned()
    }
}

/// The header for an image's registry; of nobody where nobody logged in there.
pub(crate) fn header_for(context: &mut Context, name: &Reference) -> Result<String> {
    let key = key_of(name);
    let configuration = context.configuration();
    match find(&configuration, &key) {
        Ok(login) => login.unwrap_or_default().header(),
        Err(error) => {
            context.ui.note(format!("WARNING: {}", error.text()));
            Login::default().header()
        }
    }
}

/// Who is logged in at a registry.
pub(crate) fn find(configuration: &Configuration, key: &str) -> Result<Option<Login>> {
    if let Some(helper) = configuration.helper(key) {
        return match run_helper(helper, "get", key.as_bytes())? {
            Some(answer) => {
                let secret: Secret = serde_json::from_slice(&answer)
                    .map_err(|error| CliError::said(format!("docker-credential-{helper}: {error}")))?;
                let mut login = Login { serveraddress: key.to_owned(), ..Login::default() };
                if secret.username == TOKEN_USER {
                    login.identitytoken = secret.password;
                } else {
                    (login.username, login.password) = (secret.username, secret.password);
                }
                Ok(Some(login))
            }
            None => Ok(None),
        };
    }
    if let Some(login) = configuration.logins.get(key) {
        return Ok(Some(login.clone().unpacked(key)));
    }
    // Older files have whole addresses as keys.
    let host = host_of(key);
    let old = configuration.logins.iter().find(|(other, _)| host_of(other) == host);
    Ok(old.map(|(_, login)| login.clone().unpacked(key)))
}

/// An address without scheme and path.
pub(crate) fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Keeps a login. Gives whether it was written to the file itself, where whoever reads the file has it.
pub(crate) fn store(context: &mut Context, key: &str, login: &Login) -> Result<bool> {
    let configuration = context.configuration();
    if let Some(helper) = configuration.helper(key) {
        let (username, password) = if login.identitytoken.is_empty() {
            (login.username.clone(), login.password.clone())
        } else {
            (TOKEN_USER.to_owned(), login.identitytoken.clone())
        };
        let secret = Secret { server_url: key.to_owned(), username, password };
        let document = serde_json::to_vec(&secret).map_err(|error| CliError::said(error.to_string()))?;
        run_helper(helper, "store", &document)?;
        configuration::change(context.folder(), |file| {
            let auths = file.entry("auths").or_insert_with(|| serde_json::json!({}));
            if let Some(auths) = auths.as_object_mut() {
                auths.insert(key.to_owned(), serde_json::json!({}));
            }
        })?;
        return Ok(false);
    }
    let mut entry = serde_json::Map::new();
    // With an identity token the password is not kept.
    let password = if login.identitytoken.is_empty() { login.password.as_str() } else { "" };
    entry.insert("auth".to_owned(), STANDARD.encode(format!("{}:{password}", login.username)).into());
    if !login.identitytoken.is_empty() {
        entry.insert("identitytoken".to_owned(), login.identitytoken.clone().into());
    }
    configuration::change(context.folder(), |file| {
        let auths = file.entry("auths").or_insert_with(|| serde_json::json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key.to_owned(), entry.into());
        }
    })?;
    Ok(true)
}

/// Forgets a login; whether there was one.
pub(crate) fn erase(context: &mut Context, key: &str) -> Result<bool> {
    let configuration = context.configuration();
    let host = host_of(key);
    let keys: Vec<String> =
        configuration.logins.keys().filter(|other| host_of(other) == host).cloned().collect();
    if let Some(helper) = configuration.helper(key) {
        run_helper(helper, "erase", key.as_bytes())?;
    }
    if keys.is_empty() {
        return Ok(configuration.helper(key).is_some());
    }
    configuration::change(context.folder(), |file| {
        if let Some(auths) = file.get_mut("auths").and_then(serde_json::Value::as_object_mut) {
            for key in &keys {
                auths.remove(key);
            }
        }
    })?;
    Ok(true)
}

/// Runs a helper; none where it has nothing for the key.
fn run_helper(helper: &str, action: &str, input: &[u8]) -> Result<Option<Vec<u8>>> {
    let program = format!("docker-credential-{helper}");
    let failed = |why: String| CliError::said(format!("error getting credentials - {program}: {why}"));
    if helper.contains('/') {
        return Err(failed("the name of a helper has no slash".to_owned()));
    }
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(corten_std::kernel_words(&error)))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if said.contains("credentials not found") {
        return Ok(None);
    }
    Err(failed(format!("{}, out: `{said}`", output.status)))
}

/// The helpers that a file names.
pub(crate) type Helpers = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_by_host() {
        let configuration: Configuration = serde_json::from_str(
            r#"{"auths":{"https://a.example/v1/":{"auth":"dTpw"},"b.example:5000":{"identitytoken":"t","auth":"dTo="}}}"#,
        )
        .unwrap();
        let found = find(&configuration, "a.example").unwrap().unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("u", "p"));
        let found = find(&configuration, "b.example:5000").unwrap().unwrap();
        assert_eq!((found.username.as_str(), found.identitytoken.as_str()), ("u", "t"));
        assert!(find(&configuration, "c.example").unwrap().is_none());
        assert_eq!(key_of(&Reference::parse("alpine").unwrap()), HUB);
        assert_eq!(key_of(&Reference::parse("b.example:5000/x").unwrap()), "b.example:5000");
    }
}

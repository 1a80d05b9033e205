//! `login`.

use crate::context::Context;
use crate::credentials::{self, HUB, Login};
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::terminal;
use std::io::{self, Read};

pub(crate) const ENTRY: Entry = Entry {
    name: "login",
    aliases: &[],
    usage: "[OPTIONS] [SERVER]",
    count: Count::Max(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Authenticate to a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, value_name = "string")]
    password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short, long, value_name = "string")]
    username: Option<String>,
    /// Registry
    server: Option<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let mut password = arguments.password.unwrap_or_default();
    let username = arguments.username.unwrap_or_default();
    if !password.is_empty() {
        context.ui.note("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        if arguments.password_stdin {
            return Err(CliError::said("--password and --password-stdin are mutually exclusive"));
        }
    }
    if arguments.password_stdin {
        if username.is_empty() {
            return Err(CliError::said("Must provide --username with --password-stdin"));
        }
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(CliError::Output)?;
        text.trim_end_matches(['\r', '\n']).clone_into(&mut password);
    }
    let key = key_of(arguments.server.as_deref());
    let known = credentials::find(&context.configuration(), &key)?;
    let client = context.client()?;
    if username.is_empty()
        && password.is_empty()
        && let Some(login) = &known
        && !(login.username.is_empty() && login.identitytoken.is_empty())
    {
        context
            .ui
            .line(format!("Authenticating with existing credentials... [Username: {}]", login.username))?;
        context.ui.flush()?;
        match client.login(login) {
            Ok(answer) => return succeed(context, &key, login.clone(), &answer),
            Err(error) => context.ui.note(format!("Login did not succeed, error: {error}")),
        }
    }
    let login = ask(context, &key, username, password, known.as_ref())?;
    let answer = client.login(&login)?;
    succeed(context, &key, login, &answer)
}

/// What is missing is asked for.
fn ask(
    context: &mut Context,
    key: &str,
    mut username: String,
    mut password: String,
    known: Option<&Login>,
) -> Result<Login> {
    if (username.is_empty() || password.is_empty()) && !terminal::input_is_terminal() {
        return Err(CliError::said("Error: Cannot perform an interactive login from a non TTY device"));
    }
    if username.is_empty() {
        let before = known.map(|login| login.username.clone()).unwrap_or_default();
        let shown = if before.is_empty() { String::new() } else { format!(" ({before})") };
        context.ui.data(format!("Username{shown}: ").as_bytes())?;
        context.ui.flush()?;
        username = terminal::read_line(true)?;
        if username.is_empty() {
            username = before;
        }
    }
    if username.is_empty() {
        return Err(CliError::said("username is required"));
    }
    if password.is_empty() {
        context.ui.data(b"Password: ")?;
        context.ui.flush()?;
        password = terminal::read_line(false)?;
        context.ui.line("")?;
    }
    if password.is_empty() {
        return Err(CliError::said("password is required"));
    }
    Ok(Login { username, password, serveraddress: key.to_owned(), ..Login::default() })
}

fn succeed(context: &mut Context, key: &str, mut login: Login, answer: &corten_client::Object) -> Result<u8> {
    if let Some(token) = answer["IdentityToken"].as_str().filter(|token| !token.is_empty()) {
        // It stands in the password's place from now on.
        login.password.clear();
        token.clone_into(&mut login.identitytoken);
    }
    if credentials::store(context, key, &login)? {
        let path = context.folder().join("config.json");
        context.ui.note(format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            path.display()
        ));
    }
    let status = answer["Status"].as_str().unwrap_or_default();
    if !status.is_empty() {
        context.ui.line(status)?;
    }
    Ok(0)
}

/// The key of a server as it was typed.
pub(crate) fn key_of(server: Option<&str>) -> String {
    match server {
        None | Some("" | "docker.io" | "index.docker.io" | "registry-1.docker.io") => HUB.to_owned(),
        Some(HUB) => HUB.to_owned(),
        Some(server) => credentials::host_of(server).to_owned(),
    }
}

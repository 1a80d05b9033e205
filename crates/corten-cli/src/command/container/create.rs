//! `create`, and what it shares with `run`.

use crate::command::image;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::environment;
use crate::error::{CliError, Result};
use crate::flags::create::CreateFlags;
use crate::flags::request::{self, Subject};
use crate::id_file::IdFile;
use corten_api::container::CreateRequest;
use corten_client::ClientError;
use corten_oci::Reference;
use corten_std::Classified;

pub(crate) const ENTRY: Entry = Entry {
    name: "container create",
    aliases: &["create"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    count: Count::Min(1),
    mixed: false,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Create a new container
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    flags: CreateFlags,
    /// Image, command and arguments
    words: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let program = context.program.clone();
    let request = request_of(context, &arguments.flags, &arguments.words)
        .map_err(|error| with_help(program, "create", error, 125))?;
    let id = create(context, &arguments.flags, &request)?;
    context.ui.line(id)?;
    Ok(0)
}

/// The document for the daemon.
pub(crate) fn request_of(
    context: &mut Context,
    flags: &CreateFlags,
    words: &[String],
) -> Result<CreateRequest> {
    let subject = if flags.rootfs.is_some() {
        Subject { image: String::new(), command: words.to_vec() }
    } else {
        let (image, command) =
            words.split_first().ok_or_else(|| CliError::said("an image (or --rootfs PATH) is needed"))?;
        Subject { image: image.clone(), command: command.to_vec() }
    };
    let folder = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let endpoint = context.client()?.target().endpoint.to_string();
    let proxies = context.configuration().proxy_variables(&endpoint);
    request::resolve(flags, &subject, &folder, &proxies)
}

/// Refuses what can be no image before anything is sent.
fn check_image(image: &str) -> Result<()> {
    if corten_std::id::is_full(image) {
        return Ok(());
    }
    Reference::parse(image).map(drop).map_err(|error| CliError::said(error.to_string()))
}

/// Creates the container and writes its ID where `--cidfile` says; warnings are said. Gives the ID.
pub(crate) fn create(context: &mut Context, flags: &CreateFlags, request: &CreateRequest) -> Result<String> {
    if !matches!(flags.pull.as_str(), "always" | "missing" | "never" | "") {
        return Err(CliError::said(format!(
            "invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"",
            flags.pull
        )));
    }
    if flags.rootfs.is_none() {
        check_image(&request.config.image)?;
    }
    let id_file = IdFile::create(&flags.cidfile)?;
    let client = context.client()?;
    let platform = flags.platform.clone().or_else(|| environment::value(environment::DEFAULT_PLATFORM));
    let pull = |context: &mut Context| {
        image::pull::pull(context, &request.config.image, platform.as_deref(), flags.quiet)
    };
    if flags.pull == "always" && flags.rootfs.is_none() {
        pull(context)?;
    }
    let create = || client.container_create(flags.name.as_deref(), platform.as_deref(), request);
    let answer = match create() {
        Err(error) if is_missing(&error) && matches!(flags.pull.as_str(), "missing" | "") => {
            if !flags.quiet {
                let name = Reference::parse(&request.config.image);
                let name = name.map_or_else(|_| request.config.image.clone(), |name| name.familiar());
                context.ui.note(format!("Unable to find image '{name}' locally"));
            }
            pull(context)?;
            create()
        }
        answer => answer,
    }?;
    for warning in &answer.warnings {
        context.ui.note(format!("WARNING: {warning}"));
    }
    if let Some(id_file) = id_file {
        id_file.write(&answer.id)?;
    }
    Ok(answer.id)
}

/// Whether the image is not here; another image, as one to mount, is not pulled.
fn is_missing(error: &ClientError) -> bool {
    let error_text = error.to_string();
    error.is_not_found()
        && (error_text.contains("No such image")
            || error_text.contains("does not provide the specified platform"))
}

/// An error of `run` or `create` in Docker's form: the program's name before, where help is after.
pub(crate) fn with_help(program: String, command: &str, error: CliError, code: u8) -> CliError {
    match error {
        CliError::Output(_) => error,
        error => {
            let hint = match &error {
                CliError::Client(inner) => {
                    inner.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
                }
                _ => String::new(),
            };
            let text = format!(
                "{program}: {}{hint}\n\nRun '{program} {command} --help' for more information",
                error.text().trim_end_matches('\n')
            );
            CliError::Said { text, code }
        }
    }
}

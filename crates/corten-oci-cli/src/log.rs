//! Errors as drivers of a runtime read them: one line on standard error, and one in the log file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use corten_std::Timestamp;

use crate::failure::{Failure, Result};

/// Where lines go, and how they look there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    file: Option<PathBuf>,
    format: Option<String>,
}

impl Log {
    pub(crate) fn new(file: Option<&str>, format: Option<&str>) -> Self {
        Self {
            file: file.filter(|file| !file.is_empty()).map(PathBuf::from),
            format: format.map(str::to_owned),
        }
    }

    /// The format is one we know.
    pub(crate) fn check(&self) -> Result<()> {
        match self.format.as_deref() {
            None | Some("" | "text" | "json") => Ok(()),
            Some(other) => Err(Failure::new(format!("invalid log-format: {other}"))),
        }
    }

    /// An error that ends the call.
    pub(crate) fn error(&self, message: &str) {
        self.line("error", message);
        if self.file.is_some() {
            // The log has the details; people still see the reason.
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }

    /// Something that went wrong and did not matter.
    pub(crate) fn warn(&self, message: &str) {
        self.line("warning", message);
    }

    fn line(&self, level: &str, message: &str) {
        let time = Timestamp::now();
        let line = if self.format.as_deref() == Some("json") {
            let line = serde_json::json!({ "level": level, "msg": message, "time": time.to_string() });
            format!("{line}\n")
        } else {
            format!("time=\"{time}\" level={level} msg={message:?}\n")
        };
        let Some(path) = &self.file else {
            let _ = std::io::stderr().write_all(line.as_bytes());
            return;
        };
        let file = OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            let _ = writeln!(std::io::stderr(), "cannot write to the log {}: {error}", path.display());
        }
    }
}

//! What went wrong, as an answer: the one place where a class becomes a status code.

use corten_api::error::ErrorDocument;
use corten_api::filter::FilterError;
use corten_api::query::QueryError;
use corten_api::version::UnsupportedVersion;
use corten_engine::EngineError;
use corten_http::server::{BodyError, Response};
use corten_std::{Classified, ErrorClass, chain};

use crate::reply;

/// A failed call: class and text for the client.
#[derive(Debug)]
pub(crate) struct ApiError {
    class: ErrorClass,
    /// The text that goes to the client.
    pub(crate) message: String,
    hint: Option<String>,
}

impl ApiError {
    pub(crate) fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::InvalidParameter, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::NotFound, message)
    }

    /// For what is not built yet: what it is, and what can be done instead.
    pub(crate) fn not_built(what: &str) -> Self {
        Self::new(ErrorClass::NotImplemented, format!("{what} is not built into this engine yet"))
    }

    /// With what was being done in front of the text.
    pub(crate) fn behind(mut self, doing: &str) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// What Docker says to a path that it does not know.
    pub(crate) fn page_not_found() -> Self {
        Self::not_found("page not found")
    }

    /// The status code that tells the class.
    pub(crate) fn status(&self) -> u16 {
        match self.class {
            ErrorClass::NotFound => 404,
            ErrorClass::InvalidParameter => 400,
            ErrorClass::Conflict => 409,
            ErrorClass::NotModified => 304,
            ErrorClass::Forbidden => 403,
            ErrorClass::Unauthorized => 401,
            ErrorClass::Unavailable => 503,
            ErrorClass::NotImplemented => 501,
            ErrorClass::System => 500,
        }
    }

    /// The answer that tells it. A hint goes beside the document, where Docker's clients do not look.
    pub(crate) fn response(&self) -> Response {
        let status = self.status();
        if status == 304 {
            return Response::empty(304);
        }
        let response = reply::json(status, &ErrorDocument::new(&self.message));
        match &self.hint {
            Some(hint) => response.header("Corten-Hint", hint.clone()),
            None => response,
        }
    }

    /// The answer for clients from before errors were documents.
    pub(crate) fn plain_response(&self) -> Response {
        Response::full(self.status(), format!("{}\n", self.message))
            .header("Content-Type", "text/plain; charset=utf-8")
    }

    pub(crate) fn of(error: &(impl Classified + 'static)) -> Self {
        Self { class: error.class(), message: error.to_string(), hint: error.hint() }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        if error.class() == ErrorClass::System {
            tracing::warn!(error = chain(&error), "an operation failed");
        }
        Self::of(&error)
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::of(&error)
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        Self::of(&error)
    }
}

impl From<UnsupportedVersion> for ApiError {
    fn from(error: UnsupportedVersion) -> Self {
        Self::of(&error)
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self::invalid(chain(&error))
    }
}

//! The Engine API over the engine; the one place for status codes and for wire and internal forms.

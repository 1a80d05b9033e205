//! What was done so far, to be undone in reverse when a later step fails.

use crate::error::Result;

type Step<'a> = (&'static str, Box<dyn FnOnce() -> Result<()> + Send + 'a>);

/// Steps back. Dropped, it takes them, the last one first, and goes on when one fails; [`Undo::keep`] forgets them.
#[derive(Default)]
pub(crate) struct Undo<'a> {
    steps: Vec<Step<'a>>,
}

impl<'a> Undo<'a> {
    /// Nothing to undo yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// After something was done: how to undo it. The name is for the log.
    pub(crate) fn push(&mut self, name: &'static str, step: impl FnOnce() -> Result<()> + Send + 'a) {
        self.steps.push((name, Box::new(step)));
    }

    /// Everything went well: what was done stays.
    pub(crate) fn keep(mut self) {
        self.steps.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        for (name, step) in self.steps.drain(..).rev() {
            if let Err(error) = step() {
                tracing::warn!(step = name, %error, "cannot undo a step");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn steps_are_taken_back_in_reverse_unless_kept() {
        let done = Mutex::new(Vec::new());
        let mut undo = Undo::new();
        for step in 1..=3 {
            let done = &done;
            undo.push("step", move || {
                done.lock().unwrap().push(step);
                if step == 2 { Err(crate::EngineError::system("no")) } else { Ok(()) }
            });
        }
        drop(undo);
        assert_eq!(*done.lock().unwrap(), [3, 2, 1]);
        let mut undo = Undo::new();
        undo.push("step", || panic!("kept"));
        undo.keep();
    }
}

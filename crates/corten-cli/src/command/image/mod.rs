//! `image …` and its short forms.

pub(crate) mod load;
pub(crate) mod ls;
pub(crate) mod unbuilt;

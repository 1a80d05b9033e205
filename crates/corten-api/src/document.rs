//! The macro that declares a wire document: a struct whose every field has an explicit wire name.
//!
//! Reading is as tolerant as Go's: an unknown key is skipped, a missing key or `null` gives the zero value. Writing
//! keeps the order of the fields as they are declared, which is the order of Docker's own structs.

/// Declares wire documents.
///
/// A field is `name: Type = "Wire"`, `name: Type = omitempty "Wire"` (left out when it has its zero value, as Go's
/// `omitempty`), and either may end in `via "function"`, a deserialising function to use in place of
/// [`crate::null::or_default`].
macro_rules! document {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $crate::document::document!(@fields [$(#[$meta])*] $name [] $($body)*);
    };
    (@fields $meta:tt $name:ident [$($done:tt)*]
        $(#[$about:meta])* $field:ident : $type:ty = omitempty $wire:literal via $with:literal, $($rest:tt)*) => {
        $crate::document::document!(@fields $meta $name [$($done)*
            $(#[$about])*
            #[doc = ""]
            #[doc = concat!("On the wire `", $wire, "`; left out when empty.")]
            #[serde(rename = $wire, deserialize_with = $with, skip_serializing_if = "crate::null::is_default")]
            pub $field: $type,
        ] $($rest)*);
    };
    (@fields $meta:tt $name:ident [$($done:tt)*]
        $(#[$about:meta])* $field:ident : $type:ty = omitempty $wire:literal, $($rest:tt)*) => {
        $crate::document::document!(@fields $meta $name [$($done)*
            $(#[$about])*
            #[doc = ""]
            #[doc = concat!("On the wire `", $wire, "`; left out when empty.")]
            #[serde(
                rename = $wire,
                deserialize_with = "crate::null::or_default",
                skip_serializing_if = "crate::null::is_default"
            )]
            pub $field: $type,
        ] $($rest)*);
    };
    (@fields $meta:tt $name:ident [$($done:tt)*]
        $(#[$about:meta])* $field:ident : $type:ty = $wire:literal via $with:literal, $($rest:tt)*) => {
        $crate::document::document!(@fields $meta $name [$($done)*
            $(#[$about])*
            #[doc = ""]
            #[doc = concat!("On the wire `", $wire, "`.")]
            #[serde(rename = $wire, deserialize_with = $with)]
            pub $field: $type,
        ] $($rest)*);
    };
    (@fields $meta:tt $name:ident [$($done:tt)*]
        $(#[$about:meta])* $field:ident : $type:ty = $wire:literal, $($rest:tt)*) => {
        $crate::document::document!(@fields $meta $name [$($done)*
            $(#[$about])*
            #[doc = ""]
            #[doc = concat!("On the wire `", $wire, "`.")]
            #[serde(rename = $wire, deserialize_with = "crate::null::or_default")]
            pub $field: $type,
        ] $($rest)*);
    };
    (@fields [$($meta:tt)*] $name:ident [$($done:tt)*]) => {
        $($meta)*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name { $($done)* }
    };
}

pub(crate) use document;

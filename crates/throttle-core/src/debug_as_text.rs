//! `Debug` of errors as a readable text, because Rust prints it for the error that a `main` returns.

use std::{error::Error, fmt};

/// Implements `Debug` for an error: its text, followed by the sources that the text does not quote.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_as_text {
    ($($error:ty),+ $(,)?) => {$(
        impl ::std::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                $crate::debug_as_text::write(self, f)
            }
        }
    )+};
}

/// Writes an error and its sources, separated by colons.
///
/// # Errors
///
/// Returns the errors of the formatter.
pub fn write(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Most errors quote their source, some with different punctuation.
        if !letters(&text).contains(&letters(&cause)) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    f.write_str(&text)
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::StorageError;

    #[derive(thiserror::Error)]
    #[error("the file is locked")]
    struct Locked(#[source] io::Error);

    debug_as_text!(Locked);

    #[test]
    fn the_debug_text_of_an_error_contains_each_source_once() {
        let locked = Locked(io::Error::other("pid 42"));
        assert_eq!(format!("{locked:?}"), "the file is locked: pid 42");
        let error = crate::Error::from(StorageError::other(locked));
        assert_eq!(format!("{error:?}"), "the storage failed: the file is locked: pid 42");
    }

    #[test]
    fn a_quoted_source_is_not_repeated() {
        let error = StorageError::other("NOAUTH: log in");
        assert_eq!(format!("{error:?}"), "the storage failed: NOAUTH: log in");
    }
}

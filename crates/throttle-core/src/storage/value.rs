//! The values of a storage.

use std::{fmt, str};

/// A value of a storage: bytes. A whole number is stored as its decimal text, as in Redis.
///
/// ```
/// # use throttle_core as ratethrottle;
/// use ratethrottle::Value;
///
/// assert_eq!(Value::from(42_i64), Value::from("42"));
/// assert_eq!(Value::from("42").as_i64(), Some(42));
/// assert_eq!(Value::from(vec![0xff]).as_str(), None);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Value(Vec<u8>);

impl Value {
    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the text, if the bytes are UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }

    /// Returns the whole number, if the bytes are the decimal text of one that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        let text = self.as_str()?;
        let number = text.parse::<i64>().ok()?;
        (number.to_string() == text).then_some(number) // neither "+1" nor "007", as in Redis
    }

    /// Converts the value into its bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self(number.to_string().into_bytes())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value(b\"{}\")", self.0.escape_ascii())
    }
}

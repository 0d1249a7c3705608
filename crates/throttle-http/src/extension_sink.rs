//! Where values for handlers are put.

use http::Extensions;

/// The extensions of a request; for frameworks that have another type than [`Extensions`].
pub trait ExtensionSink {
    /// Inserts a value, and returns the one that it replaces.
    fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> Option<T>;

    /// Returns the value of a type.
    fn get<T: Send + Sync + 'static>(&self) -> Option<&T>;
}

impl ExtensionSink for Extensions {
    #[inline]
    fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> Option<T> {
        Self::insert(self, value)
    }

    #[inline]
    fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        Self::get(self)
    }
}

//! Extensions, where values for handlers are inserted.

use http::Extensions;

/// The extensions of a request, for frameworks that do not use [`Extensions`].
pub trait ExtensionSink {
    /// Inserts a value, and returns the value that it replaces.
    fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> Option<T>;

    /// Returns the value of this type, if there is one.
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

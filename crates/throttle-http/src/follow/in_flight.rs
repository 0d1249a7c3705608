//! Places that a handler keeps for longer than its response.

use std::sync::{Arc, Weak};

use smallvec::SmallVec;
use throttle_core::Place;

/// Holds the places of one request; they are given back with the last who keeps them.
pub(super) type Places = SmallVec<[Place; 1]>;

/// Lets a handler keep the places of its request for longer than the response; stands in the extensions
/// of requests that hold places.
///
/// A place is given back when the body of the response has ended. A connection that is upgraded to a
/// WebSocket goes on after a response without a body: [`keep`](Self::keep) the places where it is served.
/// Of nested throttles it is about the places of all of them.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Not the places themselves: extensions may be copied, and kept by who knows whom.
    places: SmallVec<[Weak<Places>; 1]>,
}

/// Keeps places of a request until it is dropped.
#[derive(Clone, Debug)]
#[must_use = "the places are given back when this is dropped"]
pub struct KeptPlaces {
    _places: SmallVec<[Arc<Places>; 1]>,
}

impl InFlight {
    pub(super) fn of(places: &Arc<Places>) -> Self {
        let mut all = SmallVec::new();
        all.push(Arc::downgrade(places));
        Self { places: all }
    }

    /// Keeps the places; after the response has ended there are none to keep.
    pub fn keep(&self) -> KeptPlaces {
        KeptPlaces { _places: self.places.iter().filter_map(Weak::upgrade).collect() }
    }

    /// Is about the places of a throttle around this one, too.
    #[must_use]
    pub fn beside(mut self, outer: Option<&Self>) -> Self {
        self.places.extend(outer.into_iter().flat_map(|outer| outer.places.iter().cloned()));
        self
    }
}

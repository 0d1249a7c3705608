//! What rate limiting over HTTP needs and no framework owns.
//!
//! Adapters (`throttle-tower`, `throttle-actix`, and whatever you write for a framework of your own) make a
//! [`RequestHead`] of a request and hand it to a [`Throttle`]; that picks the key, the cost and the
//! rules, asks the limiter, and makes of the answer the header fields or the refusal.
//!
//! - [`identity`]: who is limited: client address, header, function, tuple
//! - [`Options`]: what both adapters let users choose, under the same names
//! - [`Headers`]: which header fields tell clients about their limits
//! - [`Setup`]: what a middleware is made of, before the first request
//! - [`Mistake`]: what the log says of a configuration that looks wrong
//! - [`Throttle`]: the way of a request, but for calling the handler

mod config_error;
mod fields;
mod follow;
mod grpc;
mod head;
mod health;
pub mod identity;
mod marks;
mod mistakes;
mod option_methods;
mod options;
pub mod outgoing;
mod problem;
mod refusal;
mod rules;
mod setup;
mod throttle;

#[doc(hidden)]
pub use self::option_methods::macros;
pub use self::{
    config_error::ConfigError,
    fields::{FieldMap, Headers, ListField, ShortSecret, on_one_line},
    follow::{
        ActualCost, Departure, Entry, Exit, Followed, Hold, InFlight, KeptPlaces, Leaving, Passage,
        ResponseHead,
    },
    grpc::Protocol,
    head::{ForeignHead, RequestHead},
    marks::Marks,
    mistakes::{Mistake, Seen, look_at_nested},
    options::{
        ContentLength, Denial, ExtractCost, IntoRules, InvalidCost, InvalidPath, MissingLength,
        NoCost, OnError, Options, PickedRules, Selection,
    },
    problem::{CONTENT_TYPE, QUOTA_EXCEEDED, REDUCED_CAPACITY},
    setup::{Setup, Source},
    throttle::{Admission, Refusal, Throttle, Verdict},
};

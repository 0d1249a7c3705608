//! One server at one address.

use std::sync::Arc;

use super::Single;
use crate::{
    Error,
    figures::Counters,
    options::{Address, Options},
    pool::{Pool, Source},
};

pub(super) fn start(
    address: &Address,
    options: &Arc<Options>,
    counters: &Arc<Counters>,
) -> Result<Single, Error> {
    let source = Source::fixed(address, options)?;
    let pool = Arc::new(Pool::start(address.to_string(), source, options, counters, None));
    Ok(Single { pool, kind: "standalone", _watch: None })
}

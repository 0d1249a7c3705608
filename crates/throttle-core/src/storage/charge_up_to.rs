//! The charge of a cost as far as a rule allows it.

use std::sync::Arc;

use super::{charge::Charge, error::StorageError, request::ChargeRequest, traits::AtomicStorage};
use crate::{key::Key, rule::checked::CheckedRule, time::Clock};

/// The maximum number of calls. One is not enough, because other requests may use the capacity first, and the free
/// capacity of a queue may be in several slots.
const MAX_CALLS: usize = 16;

/// Charges as much of a cost as the rule allows, and adds it to `charged`.
///
/// # Errors
///
/// Returns the first error of the storage; `charged` has the cost of the calls before it.
#[doc(hidden)]
pub async fn charge_up_to(
    storage: &dyn AtomicStorage,
    key: &Key<'_>,
    rule: &Arc<CheckedRule>,
    cost: u64,
    clock: Option<&Arc<dyn Clock>>,
    charged: &mut u64,
) -> Result<(), StorageError> {
    let mut next_cost = cost.min(rule.capacity());
    for _ in 0..MAX_CALLS {
        if next_cost == 0 {
            break;
        }
        let reply =
            storage.acquire(&ChargeRequest::new(&[Charge::new(key, rule, next_cost)], clock));
        let outcome = reply.await?;
        let Some(verdict) = outcome.verdicts().first() else { break };
        next_cost = match (verdict.allowed, verdict.blocked) {
            (true, _) => {
                *charged += next_cost;
                next_cost.min(verdict.remaining).min(cost - *charged)
            }
            (false, false) if verdict.remaining < next_cost => verdict.remaining,
            (false, false) => next_cost / 2,
            (false, true) => break,
        };
    }
    Ok(())
}

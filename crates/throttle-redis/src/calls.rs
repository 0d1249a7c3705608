//! Calls of the script: checks and refunds of whole requests.

use std::{ops::Range, sync::Arc};

use redis::Value;
use throttle_core::{
    Charge, ChargeRequest, Clock, Micros, Outcome, OwnedCharge, Refund, Reply, StorageError,
};

use crate::{
    client::Client,
    lua::ScriptCall,
    script::{self, Op},
};

/// Decides a request, in one call unless its keys are in several slots of a cluster.
pub(crate) fn decide(client: &Arc<Client>, request: &ChargeRequest<'_>, op: Op) -> Reply<Outcome> {
    let charges = request.charges();
    let keys = names(client, charges);
    let parts = parts(client, &keys);
    let client = Arc::clone(client);
    let clock = request.clock();
    if parts.len() > 1 {
        let charges: Vec<_> = charges.iter().copied().map(Charge::to_owned).collect();
        let request = CrossSlotRequest { client, keys, charges, clock: clock.cloned() };
        return Reply::pending(async move { request.decide(&parts, op).await });
    }
    let call = match Call::check(keys, charges, op, clock) {
        Ok(call) => call,
        Err(error) => return Reply::ready(Err(error)),
    };
    Reply::pending(async move { script::outcome(&call.send(&client).await?, &call.keys) })
}

/// Refunds charges.
pub(crate) fn refund(
    client: &Arc<Client>,
    refunds: &[Refund<'_>],
    clock: Option<&Arc<dyn Clock>>,
) -> Reply<()> {
    let charges: Vec<_> = refunds.iter().map(Refund::charge).collect();
    let keys = names(client, &charges);
    let call =
        |part: Range<usize>| Call::refund(keys[part.clone()].to_vec(), &refunds[part], clock);
    let calls: Vec<_> = match parts(client, &keys).into_iter().map(call).collect() {
        Ok(calls) => calls,
        Err(error) => return Reply::ready(Err(error)),
    };
    let client = Arc::clone(client);
    Reply::pending(async move {
        for (i, call) in calls.iter().enumerate() {
            let refunded = call.send(&client).await.and_then(|value| script::refunded(&value));
            // Those of other servers are refunded by then.
            refunded.map_err(|error| if i > 0 { error.with_unknown_effect() } else { error })?;
        }
        Ok(())
    })
}

/// A call of the script whose keys are all on one server.
struct Call {
    keys: Vec<String>,
    command: Command,
}

enum Command {
    /// A call that uses the server's clock.
    Ready(ScriptCall),
    /// A call that uses the limiter's own clock, which is read when the call is sent.
    Timed { clock: Arc<dyn Clock>, make: Make },
}

type Make = Box<dyn Fn(&[String], Micros) -> Result<ScriptCall, StorageError> + Send + Sync>;

impl Call {
    fn check(
        keys: Vec<String>,
        charges: &[Charge<'_>],
        op: Op,
        clock: Option<&Arc<dyn Clock>>,
    ) -> Result<Self, StorageError> {
        let command = match clock {
            None => Command::Ready(script::acquire(op, &keys, charges, None)?),
            Some(clock) => {
                let owned: Vec<_> = charges.iter().copied().map(Charge::to_owned).collect();
                let make = move |keys: &[String], now| {
                    let charges: Vec<_> = owned.iter().map(OwnedCharge::borrow).collect();
                    script::acquire(op, keys, &charges, Some(now))
                };
                Command::Timed { clock: Arc::clone(clock), make: Box::new(make) }
            }
        };
        Ok(Self { keys, command })
    }

    fn refund(
        keys: Vec<String>,
        refunds: &[Refund<'_>],
        clock: Option<&Arc<dyn Clock>>,
    ) -> Result<Self, StorageError> {
        let command = match clock {
            None => Command::Ready(script::refund(&keys, refunds, None)?),
            Some(clock) => {
                let own = |refund: &Refund<'_>| (refund.charge().to_owned(), refund.receipt());
                let owned: Vec<_> = refunds.iter().map(own).collect();
                let make = move |keys: &[String], now| {
                    let refunds: Vec<_> = owned
                        .iter()
                        .map(|(charge, receipt)| Refund::new(charge.borrow(), *receipt))
                        .collect();
                    script::refund(keys, &refunds, Some(now))
                };
                Command::Timed { clock: Arc::clone(clock), make: Box::new(make) }
            }
        };
        Ok(Self { keys, command })
    }

    async fn send(&self, client: &Client) -> Result<Value, StorageError> {
        let answer = match &self.command {
            Command::Ready(command) => client.run(command).await,
            Command::Timed { clock, make } => {
                let _in_order = client.order.lock().await;
                client.run(&make(&self.keys, clock.now())?).await
            }
        };
        answer.map_err(|failure| {
            let corrupt =
                failure.error_reply().and_then(|error| script::corrupt(error, &self.keys));
            corrupt.unwrap_or_else(|| failure.into())
        })
    }
}

/// A request whose keys are in several slots of a cluster.
///
/// A script cannot span slots. So the slots are charged one at a time, and the charges are refunded if
/// a later slot denies the request.
struct CrossSlotRequest {
    client: Arc<Client>,
    keys: Vec<String>,
    charges: Vec<OwnedCharge>,
    clock: Option<Arc<dyn Clock>>,
}

impl CrossSlotRequest {
    async fn decide(&self, parts: &[Range<usize>], op: Op) -> Result<Outcome, StorageError> {
        let mut outcomes = Vec::with_capacity(parts.len());
        for (i, part) in parts.iter().enumerate() {
            match self.check(part, op).await {
                Ok(outcome) if outcome.is_allowed() => outcomes.push(outcome),
                Ok(denial) if op == Op::Acquire => {
                    self.refund(&parts[..i], &outcomes).await?;
                    return self.denied(parts, i, denial).await;
                }
                Ok(denial) => outcomes.push(denial),
                Err(error) => {
                    if op == Op::Acquire {
                        self.refund(&parts[..i], &outcomes).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(joined(&outcomes))
    }

    /// Returns the decision with a peek at the other parts, whose earlier verdicts are outdated by the refund.
    async fn denied(
        &self,
        parts: &[Range<usize>],
        denying: usize,
        denial: Outcome,
    ) -> Result<Outcome, StorageError> {
        let mut outcomes = Vec::with_capacity(parts.len());
        for (i, part) in parts.iter().enumerate() {
            outcomes.push(if i == denying {
                denial.clone()
            } else {
                self.check(part, Op::Peek).await?
            });
        }
        Ok(joined(&outcomes))
    }

    async fn check(&self, part: &Range<usize>, op: Op) -> Result<Outcome, StorageError> {
        let charges: Vec<_> = self.charges[part.clone()].iter().map(OwnedCharge::borrow).collect();
        let keys = self.keys[part.clone()].to_vec();
        let call = Call::check(keys, &charges, op, self.clock.as_ref())?;
        script::outcome(&call.send(&self.client).await?, &call.keys)
    }

    async fn refund(
        &self,
        parts: &[Range<usize>],
        outcomes: &[Outcome],
    ) -> Result<(), StorageError> {
        for (part, outcome) in parts.iter().zip(outcomes) {
            let keys = self.keys[part.clone()].to_vec();
            let pairs = self.charges[part.clone()].iter().zip(outcome.verdicts());
            let refunds: Vec<_> = pairs
                .map(|(charge, verdict)| Refund::new(charge.borrow(), verdict.receipt))
                .collect();
            let call = Call::refund(keys, &refunds, self.clock.as_ref())?;
            script::refunded(&call.send(&self.client).await?)?;
        }
        Ok(())
    }
}

fn names(client: &Client, charges: &[Charge<'_>]) -> Vec<String> {
    charges.iter().map(|charge| client.keys.of_charge(charge)).collect()
}

/// Splits the keys at each change of slot. The keys of one client share a slot, and form one part.
fn parts(client: &Client, keys: &[String]) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::with_capacity(1);
    for (i, key) in keys.iter().enumerate() {
        match parts.last_mut() {
            Some(part) if shares(client, &keys[part.start], key) => part.end = i + 1,
            _ => parts.push(i..i + 1),
        }
    }
    parts
}

fn shares(client: &Client, one: &str, two: &str) -> bool {
    client.topology.share_slot(one.as_bytes(), two.as_bytes())
}

/// Joins the verdicts of the parts, in the order of the charges.
fn joined(outcomes: &[Outcome]) -> Outcome {
    let at = outcomes.last().map(Outcome::at).unwrap_or_default();
    Outcome::new(outcomes.iter().flat_map(|outcome| outcome.verdicts().iter().copied()), at)
}

//! Replacement of rules at run time.

use std::{sync::Arc, time::Duration};

use crate::{
    clock,
    oracle::Event,
    rules::{RULES, bound_of},
    tally::Count,
    world::World,
};

/// The pause between two changes. Rules change one after another, so each stays unchanged for much
/// longer than requests of the previous one are in flight.
const PAUSE: Duration = Duration::from_millis(1_000);

/// Replaces rules until the soak ends, on one instance after another.
pub(crate) async fn change(world: Arc<World>, mut random: fastrand::Rng) {
    let mut rules: Vec<_> = world.slots.iter().map(|slot| slot.rule.clone()).collect();
    let first = random.usize(..RULES);
    for step in first.. {
        tokio::time::sleep(PAUSE).await;
        if world.is_over() {
            return;
        }
        let rule = step % RULES;
        let successor = world.slots[rule].successor(&rules[rule], &mut random);
        rules[rule] = successor.clone();
        world.tally.add(Count::Changes);
        world.send(Event::Changed { rule, at: clock::now(), bound: bound_of(&successor) });
        for node in &world.nodes {
            // A real deployment does not update all instances at the same moment.
            tokio::time::sleep(Duration::from_millis(random.u64(..300))).await;
            if let Err(error) = node.limiter.replace_rule(successor.clone()) {
                world.wrong(format!("a rule was rejected: {error}"));
            }
        }
    }
}

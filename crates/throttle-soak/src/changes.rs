//! Rules that are replaced while they serve.

use std::{sync::Arc, time::Duration};

use crate::{
    clock,
    oracle::Event,
    rules::{RULES, bound_of},
    tally::Count,
    world::World,
};

/// One rule after the other has its turn, so that each is left alone for much longer than it takes until
/// nothing of the one before is under way.
const PAUSE: Duration = Duration::from_millis(1_000);

/// Replaces a rule on one server after the other, again and again.
pub(crate) async fn change(world: Arc<World>, mut random: fastrand::Rng) {
    let mut rules: Vec<_> = world.slots.iter().map(|slot| slot.rule.clone()).collect();
    let first = random.usize(..RULES);
    for turn in first.. {
        tokio::time::sleep(PAUSE).await;
        if world.is_over() {
            return;
        }
        let rule = turn % RULES;
        let successor = world.slots[rule].successor(&rules[rule], &mut random);
        rules[rule] = successor.clone();
        world.tally.add(Count::Changes);
        world.tell(Event::Changed { rule, at: clock::now(), bound: bound_of(&successor) });
        for node in &world.nodes {
            // Nobody configures all servers at one moment.
            tokio::time::sleep(Duration::from_millis(random.u64(..300))).await;
            if let Err(error) = node.limiter.replace_rule(successor.clone()) {
                world.wrong(format!("a rule was not taken: {error}"));
            }
        }
    }
}

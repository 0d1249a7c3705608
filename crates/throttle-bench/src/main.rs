//! RateThrottle beside its peers, in the same run.
//!
//! `cargo run --release -p throttle-bench` prints every table; `-- layer`, `-- actix`, `-- loopback`,
//! `-- decision`, `-- resilience` or `-- leases` prints one. Variants take turns, round by round, and each
//! figure is the median over the rounds, so that a noisy machine disturbs all alike. `--bin allocations`
//! counts allocations and bytes, with an allocator that would slow the clocks of this program.

mod actix;
mod decision;
mod harness;
mod layer;
mod leases;
mod loopback;
mod resilience;

fn main() {
    let only: Vec<_> = std::env::args().skip(1).collect();
    if let [first, arguments @ ..] = &only[..]
        && first == leases::CHILD
    {
        return leases::child(arguments);
    }
    if let [first, arguments @ ..] = &only[..]
        && first == loopback::CHILD
    {
        return loopback::child(arguments);
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
    println!("{}", harness::machine());
    if wanted("layer") {
        layer::run();
    }
    if wanted("actix") {
        actix::run();
    }
    if wanted("loopback") {
        loopback::run();
    }
    if wanted("decision") {
        decision::run();
    }
    if wanted("resilience") {
        resilience::run();
    }
    if wanted("leases") {
        leases::run();
    }
}

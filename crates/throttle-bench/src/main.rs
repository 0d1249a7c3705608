//! RateThrottle compared with other limiters, in the same run.
//!
//! `cargo run --release -p throttle-bench` prints every table; `-- layer`, `-- actix`, `--
//! loopback`, `-- decision`, `-- resilience` or `-- leases` prints one. Variants alternate round by
//! round, and each result is the median over the rounds, so that noise of the machine affects all
//! alike. `--bin allocations` counts allocations and bytes, with an allocator that would slow down
//! the measurements of this program.

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

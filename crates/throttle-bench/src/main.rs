//! RateThrottle compared with other limiters, in the same run.
//!
//! `cargo run --release -p throttle-bench` prints every table; `-- layer`, `-- actix`, `--
//! loopback`, `-- decision`, `-- resilience` or `-- leases` prints one. Variants alternate from
//! round to round, so that noise on the machine affects all of them equally. Each result is the
//! median of the rounds. `--bin allocations` counts allocations and bytes, with an allocator that
//! would slow down the measurements of this program.

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

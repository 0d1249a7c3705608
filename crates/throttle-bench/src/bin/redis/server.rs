//! The server's time for one decision.

use throttle_core::{Algorithm, Rule};
use throttle_testbed::Server;

use crate::{
    throughput::{benchmark, the_call, with_arguments},
    workload::{info, rule},
};

pub(crate) async fn run() {
    println!(
        "\nserver time of one decision (INFO commandstats) while redis-benchmark keeps it busy with \
         the same call, pipelined by 16, microseconds"
    );
    println!("| algorithm | allowed | rejected |\n| --- | --- | --- |");
    for algorithm in Algorithm::ALL {
        let mut results = Vec::new();
        for rule in [rule(algorithm), Rule::per_hour("api", 1).algorithm(algorithm)] {
            let server = Server::start();
            let call = the_call(&server, rule).await;
            let digest = with_arguments(&server, &call);
            let key = String::from_utf8_lossy(&call[3]).into_owned();
            benchmark(&server, &digest, &key, 16);
            server.command(&["CONFIG", "RESETSTAT"]);
            benchmark(&server, &digest, &key, 16);
            let stats = info(&server, "commandstats", "cmdstat_evalsha");
            let usec = stats.split(',').find_map(|part| part.strip_prefix("usec_per_call="));
            results.push(usec.unwrap_or("?").to_owned());
        }
        println!("| {algorithm} | {} | {} |", results[0], results[1]);
    }
}

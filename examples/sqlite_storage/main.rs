//! A custom storage in SQLite, whose limits all processes of a machine share.
//!
//! It implements `AtomicStorage`: each request is decided in one transaction. The storage is in `storage.rs`. A
//! storage with only the six operations of `Storage` is shorter, but exact only within one process (see
//! docs/storage.md).
//!
//! `cargo run --features sqlite --example sqlite_storage` starts three processes that share a file, and prints the
//! number of requests that each allowed.

mod storage;

use std::{
    env,
    error::Error,
    path::Path,
    process::{Command, Stdio},
};

use ratethrottle::{Algorithm, Limiter, Rule};

use self::storage::SqliteStorage;

const LIMIT: u64 = 100;
const PROCESSES: usize = 3;
const REQUESTS: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(file) = env::args_os().nth(1) {
        println!("{}", check(Path::new(&file)).await?);
        return Ok(());
    }
    let allowed = run(|file| {
        let mut command = Command::new(env::current_exe()?);
        command.arg(file);
        Ok(command)
    })?;
    for (i, allowed) in allowed.iter().enumerate() {
        println!("process {}: {allowed} of {REQUESTS} requests allowed", i + 1);
    }
    println!("total: {} allowed; the limit is {LIMIT}", allowed.iter().sum::<u64>());
    Ok(())
}

/// Sends the requests of one process. All processes use the same file and the same rule.
async fn check(file: &Path) -> Result<u64, Box<dyn Error>> {
    let limiter = Limiter::new(SqliteStorage::open(file)?);
    limiter.add_rule(Rule::per_hour("api", LIMIT).algorithm(Algorithm::SlidingWindowLog))?;
    let mut allowed = 0;
    for _ in 0..REQUESTS {
        allowed += u64::from(limiter.check("user:42", "api").await?.is_allowed());
    }
    Ok(allowed)
}

/// Starts the processes, and returns the number of requests that each allowed.
fn run(
    process: impl Fn(&Path) -> Result<Command, Box<dyn Error>>,
) -> Result<Vec<u64>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("limits.sqlite");
    // Creates the table before the processes start.
    SqliteStorage::open(&file)?;
    let start = |_| Ok(process(&file)?.stdout(Stdio::piped()).spawn()?);
    let processes: Vec<_> = (0..PROCESSES).map(start).collect::<Result<_, Box<dyn Error>>>()?;
    let mut allowed = Vec::new();
    for process in processes {
        let output = String::from_utf8(process.wait_with_output()?.stdout)?;
        let number = output.lines().find_map(|line| line.parse().ok());
        allowed.push(number.ok_or_else(|| format!("a process did not print a number: {output}"))?);
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratethrottle::{Storage, storage::Scope, testing::Suite};
    use rusqlite::Connection;

    use super::*;

    const FILE: &str = "RATETHROTTLE_TEST_FILE";

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_sqlite_storage_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("limits.sqlite");
        // Each call opens the file again, as another process would.
        let open = || async { SqliteStorage::open(&file).unwrap() };
        let report = Suite::new(open).scope(Scope::Shared).run().await;
        assert_eq!((report.vectors, report.decisions), (225, 8_940));
        assert!(report.checks > 80, "{report:?}");
        assert_eq!(report.unchecked, ["limits of requests in flight"]);
    }

    #[test]
    fn processes_that_share_a_file_allow_exactly_the_limit() {
        let allowed = run(|file| {
            let mut command = Command::new(env::current_exe()?);
            command.args(["--exact", "tests::process", "--ignored", "--nocapture"]);
            command.env(FILE, file);
            Ok(command)
        });
        assert_eq!(allowed.unwrap().iter().sum::<u64>(), LIMIT);
    }

    #[tokio::test]
    #[ignore = "the test above runs it in child processes"]
    async fn process() {
        let file = env::var_os(FILE).expect("the test above sets this variable");
        println!("\n{}", check(Path::new(&file)).await.unwrap());
    }

    #[tokio::test]
    async fn writes_remove_expired_entries() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("limits.sqlite");
        let storage = SqliteStorage::open(&file).unwrap();
        let write = async |key: u8| {
            let ttl = Some(Duration::from_millis(1));
            storage.set(&key.to_string(), "x".into(), ttl).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        for key in 0..100 {
            write(key).await;
        }
        let connection = Connection::open(&file).unwrap();
        let rows: u8 =
            connection.query_row("SELECT COUNT(*) FROM entries", (), |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }
}

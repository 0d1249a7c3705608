//! The results as text: as CSV for tests, and as tables for the guide.

use std::{error::Error, fmt::Write as _, time::Duration};

use ratethrottle::Algorithm;

use crate::{
    PERCENTS,
    fleet::{Results, Setting},
};

type Rows = [(Setting, Results)];

const HEAD: &str = "algorithm,limit,window,demand,windows,skewed,round_trip_ms,servers,percent,\
                    requests,allowed,exact,calls,batches,taken,waited";

/// Writes one line for each simulation.
pub(crate) fn to_csv(rows: &Rows) -> Result<String, Box<dyn Error>> {
    let mut csv = format!("{HEAD}\n");
    for (of, results) in rows {
        let Some(percent) = of.percent else {
            return Err("a fleet without leases cannot be written".into());
        };
        let (skewed, millis) = (u8::from(of.skewed), of.round_trip.as_millis());
        write!(csv, "{},{},{},{},", of.algorithm, of.limit, of.window, of.demand)?;
        write!(csv, "{},{skewed},{millis},{},{percent},", of.windows, of.servers)?;
        write!(csv, "{},{},{},", results.requests, results.allowed, results.exact)?;
        writeln!(
            csv,
            "{},{},{},{}",
            results.calls, results.batches, results.taken, results.waited
        )?;
    }
    Ok(csv)
}

/// Reads the output of [`to_csv`].
#[cfg(test)]
pub(crate) fn from_csv(csv: &str) -> Result<Vec<(Setting, Results)>, Box<dyn Error>> {
    let mut lines = csv.lines();
    if lines.next() != Some(HEAD) {
        return Err("unexpected columns".into());
    }
    lines.map(read).collect()
}

#[cfg(test)]
fn read(line: &str) -> Result<(Setting, Results), Box<dyn Error>> {
    let fields: Vec<&str> = line.split(',').collect();
    if fields.len() != HEAD.split(',').count() {
        return Err(format!("{} fields: {line}", fields.len()).into());
    }
    let number = |field: usize| fields[field].parse::<u64>();
    let setting = Setting {
        algorithm: fields[0].parse()?,
        limit: number(1)?,
        window: number(2)?,
        demand: number(3)?,
        windows: number(4)?,
        skewed: number(5)? == 1,
        round_trip: Duration::from_millis(number(6)?),
        servers: number(7)?,
        percent: Some(fields[8].parse()?),
    };
    let results = Results {
        requests: number(9)?,
        allowed: number(10)?,
        exact: number(11)?,
        calls: number(12)?,
        batches: number(13)?,
        taken: number(14)?,
        waited: number(15)?,
    };
    Ok((setting, results))
}

/// Returns the tables of the guide, separated by empty lines.
pub(crate) fn tables(rows: &Rows) -> Result<String, Box<dyn Error>> {
    Ok([fleets(rows)?, algorithms(rows)?, round_trips(rows)?].join("\n"))
}

/// Formats the permits, the calls and the early rejections of two fleets, by lease budget.
fn fleets(rows: &Rows) -> Result<String, Box<dyn Error>> {
    let mut text = "| budget, % | 10 servers: permits each | calls/s | rejected early, % \
                    | 10,000 servers: permits each | calls/s | rejected early, % |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for percent in PERCENTS {
        write!(text, "| {percent} |")?;
        for servers in [10, 10_000] {
            let matches = |of: &Setting| {
                of.limit > 10_000 && of.servers == servers && of.percent == Some(percent)
            };
            match rows.iter().find(|(of, _)| matches(of)) {
                Some((of, results)) => {
                    let hold = grouped(of.allowance() as f64);
                    let calls = grouped(results.calls_per_second(of));
                    write!(text, " {hold} | {calls} | {:.1} |", results.rejected_early())?;
                }
                // Servers may not hold two permits, so that each request is a call.
                None => text.push_str(" – | – | – |"),
            }
        }
        text.push('\n');
    }
    Ok(text)
}

/// Formats the percentage of requests that are calls, by algorithm.
fn algorithms(rows: &Rows) -> Result<String, Box<dyn Error>> {
    let mut text = "| calls, % of requests | 10 servers, load 80 % | 200 % | rejected early \
                    | 100 servers, load 80 % | 200 % | rejected early |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    let is_local = |of: &Setting| of.limit <= 10_000 && of.round_trip.is_zero();
    let at = |name: (Algorithm, bool), servers, load| {
        rows.iter().find(|(of, _)| {
            is_local(of)
                && (of.algorithm, of.skewed) == name
                && (of.servers, 100 * of.demand / of.limit) == (servers, load)
        })
    };
    let counter = Algorithm::SlidingWindowCounter;
    let names = [Algorithm::FixedWindow, counter, Algorithm::TokenBucket].map(|of| (of, false));
    for name in names.into_iter().chain([(counter, true)]) {
        let skewed = if name.1 { ", skewed" } else { "" };
        write!(text, "| {}{skewed} |", name.0.as_str().replace('_', " "))?;
        for servers in [10, 100] {
            let (below, above) = (at(name, servers, 80), at(name, servers, 200));
            let (Some((_, below)), Some((_, above))) = (below, above) else {
                return Err(format!("no results of {name:?}").into());
            };
            let share = |results: &Results| 100.0 * results.calls as f64 / results.requests as f64;
            write!(text, " {:.1} | {:.1} |", share(below), share(above))?;
            write!(text, " {:.1} |", above.rejected_early())?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// Formats the percentage of requests that wait for a batch, by round trip time.
fn round_trips(rows: &Rows) -> Result<String, Box<dyn Error>> {
    let mut text = "| waiting, % of requests | budget 5 %, load 80 % | 200 % \
                    | budget 20 %, load 80 % | 200 % |\n|---|---|---|---|---|"
        .to_owned();
    let mut last = Duration::ZERO;
    // Each round trip time has both loads with the first budget, and then with the second.
    for (of, results) in rows.iter().filter(|(of, _)| !of.round_trip.is_zero()) {
        if of.round_trip != last {
            last = of.round_trip;
            write!(text, "\n| round trip {} ms |", last.as_millis())?;
        }
        write!(text, " {:.1} |", 100.0 * results.waited as f64 / results.requests as f64)?;
    }
    text.push('\n');
    Ok(text)
}

/// Formats a number with thousands separators.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for (i, digit) in digits[first..].chars().enumerate() {
        if i % 3 == 0 && !text.is_empty() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_can_be_read_again() {
        let setting = crate::small(Algorithm::TokenBucket, 10, 80);
        let setting = Setting { skewed: true, round_trip: Duration::from_millis(7), ..setting };
        let results = Results {
            requests: 1,
            allowed: 2,
            exact: 3,
            calls: 4,
            batches: 5,
            taken: 6,
            waited: 7,
        };
        let rows = [(setting, results)];
        assert_eq!(from_csv(&to_csv(&rows).unwrap()).unwrap(), rows);
        assert!(from_csv("requests\n1\n").is_err());
        assert!(read("token_bucket,1,2").is_err());
    }

    #[test]
    fn numbers_have_thousands_separators() {
        let written = [7.0, 123.4, 1_234.0, 12_345.6, 1_234_567.0].map(grouped);
        assert_eq!(written, ["7", "123", "1,234", "12,346", "1,234,567"]);
    }
}

//! What was seen, as text: for the next run to compare, and for the guide.

use std::{error::Error, fmt::Write as _, time::Duration};

use ratethrottle::Algorithm;

use crate::{
    PERCENTS,
    fleet::{Seen, Setting},
};

type Rows = [(Setting, Seen)];

const HEAD: &str = "algorithm,limit,window,demand,windows,skewed,round_trip_ms,servers,percent,\
                    asked,admitted,exact,calls,batches,taken,waited";

/// Writes a line for each run.
pub(crate) fn to_csv(rows: &Rows) -> Result<String, Box<dyn Error>> {
    let mut csv = format!("{HEAD}\n");
    for (of, seen) in rows {
        let Some(percent) = of.percent else { return Err("each fleet here has leases".into()) };
        let (skewed, millis) = (u8::from(of.skewed), of.round_trip.as_millis());
        write!(csv, "{},{},{},{},", of.algorithm, of.limit, of.window, of.demand)?;
        write!(csv, "{},{skewed},{millis},{},{percent},", of.windows, of.servers)?;
        write!(csv, "{},{},{},", seen.asked, seen.admitted, seen.exact)?;
        writeln!(csv, "{},{},{},{}", seen.calls, seen.batches, seen.taken, seen.waited)?;
    }
    Ok(csv)
}

/// Reads what [`to_csv`] wrote.
#[cfg(test)]
pub(crate) fn from_csv(csv: &str) -> Result<Vec<(Setting, Seen)>, Box<dyn Error>> {
    let mut lines = csv.lines();
    if lines.next() != Some(HEAD) {
        return Err("other columns".into());
    }
    lines.map(read).collect()
}

#[cfg(test)]
fn read(line: &str) -> Result<(Setting, Seen), Box<dyn Error>> {
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
    let seen = Seen {
        asked: number(9)?,
        admitted: number(10)?,
        exact: number(11)?,
        calls: number(12)?,
        batches: number(13)?,
        taken: number(14)?,
        waited: number(15)?,
    };
    Ok((setting, seen))
}

/// Returns the tables of the guide, with an empty line between them.
pub(crate) fn tables(rows: &Rows) -> Result<String, Box<dyn Error>> {
    Ok([fleets(rows)?, algorithms(rows)?, round_trips(rows)?].join("\n"))
}

/// Writes what servers of two fleets hold, call and reject too early, by their budget.
fn fleets(rows: &Rows) -> Result<String, Box<dyn Error>> {
    let mut text = "| budget, % | 10 servers: permits each | calls/s | rejected early, % \
                    | 10,000 servers: permits each | calls/s | rejected early, % |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for percent in PERCENTS {
        write!(text, "| {percent} |")?;
        for servers in [10, 10_000] {
            let is_it = |of: &Setting| {
                of.limit > 10_000 && of.servers == servers && of.percent == Some(percent)
            };
            match rows.iter().find(|(of, _)| is_it(of)) {
                Some((of, seen)) => {
                    let hold = grouped(of.allowance() as f64);
                    let calls = grouped(seen.calls_a_second(of));
                    write!(text, " {hold} | {calls} | {:.1} |", seen.refused_early())?;
                }
                // None may hold two permits: each request is a call.
                None => text.push_str(" – | – | – |"),
            }
        }
        text.push('\n');
    }
    Ok(text)
}

/// Writes how many of a hundred requests are calls, by algorithm.
fn algorithms(rows: &Rows) -> Result<String, Box<dyn Error>> {
    let mut text = "| calls, % of requests | 10 servers, load 80 % | 200 % | rejected early \
                    | 100 servers, load 80 % | 200 % | rejected early |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    let near = |of: &Setting| of.limit <= 10_000 && of.round_trip.is_zero();
    let at = |name: (Algorithm, bool), servers, load| {
        rows.iter().find(|(of, _)| {
            near(of)
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
                return Err(format!("no run of {name:?}").into());
            };
            let share = |seen: &Seen| 100.0 * seen.calls as f64 / seen.asked as f64;
            write!(text, " {:.1} | {:.1} |", share(below), share(above))?;
            write!(text, " {:.1} |", above.refused_early())?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// Writes how many of a hundred requests wait for a batch, by the round trip to the storage.
fn round_trips(rows: &Rows) -> Result<String, Box<dyn Error>> {
    let mut text = "| waiting, % of requests | budget 5 %, load 80 % | 200 % \
                    | budget 20 %, load 80 % | 200 % |\n|---|---|---|---|---|"
        .to_owned();
    let mut last = Duration::ZERO;
    // Each round trip has both loads with one budget, and then with the other.
    for (of, seen) in rows.iter().filter(|(of, _)| !of.round_trip.is_zero()) {
        if of.round_trip != last {
            last = of.round_trip;
            write!(text, "\n| round trip {} ms |", last.as_millis())?;
        }
        write!(text, " {:.1} |", 100.0 * seen.waited as f64 / seen.asked as f64)?;
    }
    text.push('\n');
    Ok(text)
}

/// Writes a whole number with commas.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for (place, digit) in digits[first..].chars().enumerate() {
        if place % 3 == 0 && !text.is_empty() {
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
    fn what_is_written_is_read_again() {
        let setting = crate::small(Algorithm::TokenBucket, 10, 80);
        let setting = Setting { skewed: true, round_trip: Duration::from_millis(7), ..setting };
        let seen =
            Seen { asked: 1, admitted: 2, exact: 3, calls: 4, batches: 5, taken: 6, waited: 7 };
        let rows = [(setting, seen)];
        assert_eq!(from_csv(&to_csv(&rows).unwrap()).unwrap(), rows);
        assert!(from_csv("asked\n1\n").is_err());
        assert!(read("token_bucket,1,2").is_err());
    }

    #[test]
    fn numbers_have_a_comma_before_three_digits() {
        let written = [7.0, 123.4, 1_234.0, 12_345.6, 1_234_567.0].map(grouped);
        assert_eq!(written, ["7", "123", "1,234", "12,346", "1,234,567"]);
    }
}

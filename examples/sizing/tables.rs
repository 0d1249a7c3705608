//! What was seen, as text: for the next run to compare, and for the guide.

use std::{error::Error, fmt::Write as _};

use crate::fleet::{Seen, Setting};

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
        round_trip: std::time::Duration::from_millis(number(6)?),
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
    let mut text = String::new();
    for servers in [10, 10_000] {
        writeln!(
            text,
            "| accuracy | a server may hold | calls a second | of requests | refused too early |"
        )?;
        writeln!(text, "| --- | --- | --- | --- | --- |")?;
        for (of, seen) in rows.iter().filter(|(of, _)| of.limit > 10_000 && of.servers == servers) {
            let percent = of.percent.unwrap_or_default();
            let (hold, cost) = (grouped(of.allowance() as f64), cost(of, seen));
            writeln!(text, "| {percent} % | {hold} | {cost} | {:.1} % |", seen.refused_early())?;
        }
        writeln!(text)?;
    }

    writeln!(
        text,
        "| servers | algorithm | requests | calls a second | of requests | refused too early |"
    )?;
    writeln!(text, "| --- | --- | --- | --- | --- | --- |")?;
    for (of, seen) in rows.iter().filter(|(of, _)| is_near(of)) {
        let skewed = if of.skewed { ", skewed" } else { "" };
        let (name, cost) = (of.algorithm.as_str().replace('_', " "), cost(of, seen));
        let load = 100 * of.demand / of.limit;
        writeln!(
            text,
            "| {} | {name}{skewed} | {load} % of the limit | {cost} | {:.1} % |",
            of.servers,
            seen.refused_early()
        )?;
    }

    writeln!(
        text,
        "\n| round trip | accuracy | requests | calls a second | wait | refused too early |"
    )?;
    writeln!(text, "| --- | --- | --- | --- | --- | --- |")?;
    for (of, seen) in rows.iter().filter(|(of, _)| !of.round_trip.is_zero()) {
        let (millis, load) = (of.round_trip.as_millis(), 100 * of.demand / of.limit);
        writeln!(
            text,
            "| {millis} ms | {} % | {load} % of the limit | {} | {:.1} % | {:.1} % |",
            of.percent.unwrap_or_default(),
            grouped(seen.calls_a_second(of)),
            100.0 * seen.waited as f64 / seen.asked as f64,
            seen.refused_early()
        )?;
    }
    Ok(text)
}

fn is_near(of: &Setting) -> bool {
    of.limit <= 10_000 && of.round_trip.is_zero()
}

/// Says how many calls there are in a second, and of how many in a hundred requests.
fn cost(of: &Setting, seen: &Seen) -> String {
    let share = 100.0 * seen.calls as f64 / seen.asked as f64;
    format!("{} | {share:.1} %", grouped(seen.calls_a_second(of)))
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
    use std::time::Duration;

    use ratethrottle::Algorithm;

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

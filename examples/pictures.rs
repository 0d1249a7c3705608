//! Draws the decisions of each algorithm for the same requests.
//!
//! Run `cargo run --example pictures`, which writes `docs/pictures/<algorithm>.svg`.

use std::{
    error::Error,
    fmt::{self, Write as _},
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use ratethrottle::{Algorithm, Limiter, ManualClock, MemoryStorage, Rule};

/// The limit in all pictures: 10 in 10 seconds.
const LIMIT: u64 = 10;
const WINDOW: u64 = 10_000;
/// The end of the picture. All times are in milliseconds after its start. A window begins at 0.
const END: u64 = 36_000;
const STEP: u64 = 50;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    for algorithm in Algorithm::ALL {
        let path = path(algorithm);
        fs::write(&path, draw(algorithm, &simulate(algorithm).await?)?)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn path(algorithm: Algorithm) -> PathBuf {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures");
    PathBuf::from(docs).join(format!("{algorithm}.svg"))
}

// --- Simulation --------------------------------------------------------------------------------

/// The requests of one client, and the remaining cost over time.
#[derive(Default)]
struct History {
    requests: Vec<Request>,
    /// The times at which `remaining` changed, with the new values.
    remaining: Vec<(u64, u64)>,
}

struct Request {
    at: u64,
    allowed: bool,
    delay: u64,
}

/// Returns the number of requests at a time: four per second across a window edge, then after a pause fifteen at
/// once and again four per second.
fn requests(at: u64) -> usize {
    match at {
        27_000 => 15,
        7_500..=17_500 | 27_250..=33_000 if at.is_multiple_of(250) => 1,
        _ => 0,
    }
}

async fn simulate(algorithm: Algorithm) -> Result<History, ratethrottle::Error> {
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    let rule = Rule::new("picture", LIMIT, Duration::from_millis(WINDOW));
    limiter.add_rule(rule.algorithm(algorithm))?;

    let mut history = History::default();
    for at in (0..=END).step_by(STEP as usize) {
        history.record(at, limiter.peek("client", "picture").await?.remaining());
        for _ in 0..requests(at) {
            let decision = limiter.check("client", "picture").await?;
            let delay = decision.delay().as_millis() as u64;
            history.requests.push(Request { at, allowed: decision.is_allowed(), delay });
            history.record(at, decision.remaining());
        }
        clock.advance(Duration::from_millis(STEP));
    }
    Ok(history)
}

impl History {
    fn record(&mut self, at: u64, remaining: u64) {
        if self.remaining.last().is_none_or(|(_, last)| *last != remaining) {
            self.remaining.push((at, remaining));
        }
    }

    fn allowed(&self) -> Vec<u64> {
        self.requests.iter().filter(|one| one.allowed).map(|one| one.at).collect()
    }

    fn rejected(&self) -> Vec<u64> {
        self.requests.iter().filter(|one| !one.allowed).map(|one| one.at).collect()
    }

    /// Returns the scheduled times of a leaky bucket.
    fn scheduled(&self) -> Vec<u64> {
        self.requests.iter().filter(|one| one.allowed).map(|one| one.at + one.delay).collect()
    }
}

/// Returns the most times in any interval of `length`, which does not include its end.
fn most(times: &[u64], length: u64) -> usize {
    let count = |from: u64| times.iter().filter(|at| (from..from + length).contains(at)).count();
    times.iter().map(|from| count(*from)).max().unwrap_or(0)
}

// --- Drawing -----------------------------------------------------------------------------------

const WIDTH: u64 = 776;
const LEFT: f64 = 92.0;
const SECOND: f64 = 18.0;
const ALLOWED: &str = "#0a58ca";
const REJECTED: &str = "#c9302c";

fn x(at: u64) -> f64 {
    LEFT + SECOND * at as f64 / 1000.0
}

fn draw(algorithm: Algorithm, history: &History) -> Result<String, fmt::Error> {
    let shapes = algorithm == Algorithm::LeakyBucket;
    let has_windows = matches!(algorithm, Algorithm::FixedWindow | Algorithm::SlidingWindowCounter);
    let left_top = if shapes { 202.0 } else { 170.0 };
    let bottom = left_top + 70.0;
    let (allowed, rejected) = (history.allowed(), history.rejected());
    let name = algorithm.as_str().replace('_', " ");
    let text = format!(
        "{name}, 10 in 10 s: {} of {} requests allowed, at most {} within 10 s",
        allowed.len(),
        history.requests.len(),
        most(&allowed, WINDOW)
    );

    let mut svg = String::new();
    let height = bottom + 44.0;
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" font-family="sans-serif" font-size="12" fill="#222">"##
    )?;
    writeln!(svg, "<title>{text}</title>")?;
    writeln!(svg, r##"<rect width="{WIDTH}" height="{height}" fill="#fff"/>"##)?;
    writeln!(svg, r#"<text x="12" y="22" font-size="14" font-weight="bold">{text}</text>"#)?;
    draw_time(&mut svg, has_windows, bottom)?;

    let filled = format!(r#"fill="{ALLOWED}""#);
    let hollow = format!(r##"fill="#fff" stroke="{REJECTED}" stroke-width="1.1""##);
    dots(&mut svg, "allowed", &filled, &allowed, (94.0, -4.5))?;
    dots(&mut svg, "rejected", &hollow, &rejected, (112.0, 4.5))?;
    if shapes {
        dots(&mut svg, "scheduled", &filled, &history.scheduled(), (174.0, 0.0))?;
    }
    draw_remaining(&mut svg, history, left_top)?;
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

/// Draws the axis, and a dashed line for each window edge if the algorithm has windows.
fn draw_time(svg: &mut String, has_windows: bool, bottom: f64) -> fmt::Result {
    let (start, end) = (x(0), x(END));
    for second in (0..=END / 1000).step_by(5) {
        let at = x(second * 1000);
        if has_windows && second % 10 == 0 {
            writeln!(
                svg,
                r##"<path d="M{at} 36V{bottom}" stroke="#888" stroke-dasharray="3 3"/>"##
            )?;
        }
        let (tick, number) = (bottom + 5.0, bottom + 18.0);
        writeln!(svg, r##"<path d="M{at} {bottom}V{tick}" stroke="#222"/>"##)?;
        writeln!(svg, r#"<text x="{at}" y="{number}" text-anchor="middle">{second}</text>"#)?;
    }
    writeln!(svg, r##"<path d="M{start} {bottom}H{end}" stroke="#222"/>"##)?;
    let (middle, under) = (x(END / 2), bottom + 35.0);
    let edges = if has_windows { "; dashed: start of a window" } else { "" };
    writeln!(svg, r#"<text x="{middle}" y="{under}" text-anchor="middle">seconds{edges}</text>"#)
}

fn label(svg: &mut String, y: f64, text: &str) -> fmt::Result {
    let right = LEFT - 12.0;
    writeln!(svg, r#"<text x="{right}" y="{y}" text-anchor="end">{text}</text>"#)
}

/// Draws a dot for each time. Dots of the same time form a column with `step` between them.
fn dots(
    svg: &mut String,
    name: &str,
    style: &str,
    times: &[u64],
    (base, step): (f64, f64),
) -> fmt::Result {
    label(svg, base + 4.0, name)?;
    writeln!(svg, "<g {style}>")?;
    let mut nth = 0;
    for (i, at) in times.iter().enumerate().take_while(|(_, at)| **at <= END) {
        nth = if i > 0 && times[i - 1] == *at { nth + 1 } else { 0 };
        let (x, y) = (x(*at), base + step * f64::from(nth));
        writeln!(svg, r#"<circle cx="{x}" cy="{y}" r="1.9"/>"#)?;
    }
    writeln!(svg, "</g>")
}

/// Draws `remaining` as a step function between 0 and the limit.
fn draw_remaining(svg: &mut String, history: &History, top: f64) -> fmt::Result {
    let y = |remaining: u64| top + 60.0 - 6.0 * remaining as f64;
    label(svg, y(LIMIT / 2) + 4.0, "remaining")?;
    let (start, end, right) = (x(0), x(END), x(END) + 6.0);
    for level in [0, LIMIT] {
        let at = y(level);
        writeln!(svg, r##"<path d="M{start} {at}H{end}" stroke="#ddd"/>"##)?;
        writeln!(svg, r#"<text x="{right}" y="{}" font-size="11">{level}</text>"#, at + 4.0)?;
    }
    let mut line = String::new();
    for (i, (at, remaining)) in history.remaining.iter().enumerate() {
        match i {
            0 => write!(line, "M{} {}", x(*at), y(*remaining))?,
            _ => write!(line, "H{}V{}", x(*at), y(*remaining))?,
        }
    }
    writeln!(svg, r##"<path d="{line}H{end}" fill="none" stroke="#222" stroke-width="1.4"/>"##)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_pictures_in_the_guide_are_up_to_date() {
        for algorithm in Algorithm::ALL {
            let drawn = draw(algorithm, &simulate(algorithm).await.unwrap()).unwrap();
            let kept = fs::read_to_string(path(algorithm)).unwrap();
            assert!(kept == drawn, "{algorithm}: run `cargo run --example pictures`");
            assert!(kept.len() < 30_000, "{algorithm}: {} bytes", kept.len());
        }
    }

    #[tokio::test]
    async fn no_interval_allows_more_than_the_documented_bound() {
        for algorithm in Algorithm::ALL {
            let history = simulate(algorithm).await.unwrap();
            for length in (STEP..=WINDOW).step_by(STEP as usize) {
                let most = most(&history.allowed(), length) as u64;
                let share = LIMIT * length / WINDOW;
                let bound = match algorithm {
                    Algorithm::FixedWindow => 2 * LIMIT,
                    Algorithm::SlidingWindowLog => LIMIT,
                    _ => LIMIT + share,
                };
                assert!(
                    most <= bound,
                    "{algorithm}: {most} allowed in {length} ms, the bound is {bound}"
                );
            }
        }
    }

    #[tokio::test]
    async fn the_pictures_match_the_guide() {
        let in_a_window = async |algorithm| {
            let history = simulate(algorithm).await.unwrap();
            most(&history.allowed(), WINDOW)
        };
        assert_eq!(in_a_window(Algorithm::FixedWindow).await, 20);
        assert_eq!(in_a_window(Algorithm::SlidingWindowLog).await, 10);
        let times = simulate(Algorithm::LeakyBucket).await.unwrap().scheduled();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{times:?}");
    }
}

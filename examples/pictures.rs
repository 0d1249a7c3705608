//! Draws what each algorithm makes of the same requests; the limiter itself decides about them.
//!
//! `cargo run --example pictures` writes `docs/pictures/<algorithm>.svg`.

use std::{
    error::Error,
    fmt::{self, Write as _},
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use ratethrottle::{Algorithm, Limiter, ManualClock, MemoryStorage, Rule};

/// The rule of all pictures: 10 in 10 seconds.
const LIMIT: u64 = 10;
const WINDOW: u64 = 10_000;
/// Times are milliseconds since the picture's beginning, where a window begins.
const END: u64 = 36_000;
const STEP: u64 = 50;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    for algorithm in Algorithm::ALL {
        let path = path(algorithm);
        fs::write(&path, draw(algorithm, &watch(algorithm).await?)?)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn path(algorithm: Algorithm) -> PathBuf {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures");
    PathBuf::from(docs).join(format!("{algorithm}.svg"))
}

// --- What happens ------------------------------------------------------------------------------

/// What one client asked, what it was told, and how much was left meanwhile.
#[derive(Default)]
struct Seen {
    asked: Vec<Asked>,
    /// Moments at which `remaining` changed, and to what.
    remaining: Vec<(u64, u64)>,
}

struct Asked {
    at: u64,
    allowed: bool,
    delay: u64,
}

/// Says how many requests come at a moment: four a second over a window's edge, then after a pause
/// fifteen at once and four a second again.
fn requests(at: u64) -> usize {
    match at {
        27_000 => 15,
        7_500..=17_500 | 27_250..=33_000 if at.is_multiple_of(250) => 1,
        _ => 0,
    }
}

async fn watch(algorithm: Algorithm) -> Result<Seen, ratethrottle::Error> {
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    let rule = Rule::new("picture", LIMIT, Duration::from_millis(WINDOW));
    limiter.add_rule(rule.algorithm(algorithm))?;

    let mut seen = Seen::default();
    for at in (0..=END).step_by(STEP as usize) {
        seen.note(at, limiter.peek("client", "picture").await?.remaining());
        for _ in 0..requests(at) {
            let decision = limiter.check("client", "picture").await?;
            let delay = decision.delay().as_millis() as u64;
            seen.asked.push(Asked { at, allowed: decision.is_allowed(), delay });
            seen.note(at, decision.remaining());
        }
        clock.advance(Duration::from_millis(STEP));
    }
    Ok(seen)
}

impl Seen {
    fn note(&mut self, at: u64, remaining: u64) {
        if self.remaining.last().is_none_or(|(_, last)| *last != remaining) {
            self.remaining.push((at, remaining));
        }
    }

    fn admitted(&self) -> Vec<u64> {
        self.asked.iter().filter(|one| one.allowed).map(|one| one.at).collect()
    }

    fn refused(&self) -> Vec<u64> {
        self.asked.iter().filter(|one| !one.allowed).map(|one| one.at).collect()
    }

    /// When the turns of a leaky bucket come.
    fn turns(&self) -> Vec<u64> {
        self.asked.iter().filter(|one| one.allowed).map(|one| one.at + one.delay).collect()
    }
}

/// Returns the most moments in any stretch of `length`, its end left out.
fn most(moments: &[u64], length: u64) -> usize {
    let count = |from: u64| moments.iter().filter(|at| (from..from + length).contains(at)).count();
    moments.iter().map(|from| count(*from)).max().unwrap_or(0)
}

// --- How it is drawn ---------------------------------------------------------------------------

const WIDTH: u64 = 776;
const LEFT: f64 = 92.0;
const SECOND: f64 = 18.0;
const ADMITTED: &str = "#0a58ca";
const REFUSED: &str = "#c9302c";

fn x(at: u64) -> f64 {
    LEFT + SECOND * at as f64 / 1000.0
}

fn draw(algorithm: Algorithm, seen: &Seen) -> Result<String, fmt::Error> {
    let shapes = algorithm == Algorithm::LeakyBucket;
    let has_windows = matches!(algorithm, Algorithm::FixedWindow | Algorithm::SlidingWindowCounter);
    let left_top = if shapes { 202.0 } else { 170.0 };
    let bottom = left_top + 70.0;
    let (admitted, refused) = (seen.admitted(), seen.refused());
    let name = algorithm.as_str().replace('_', " ");
    let text = format!(
        "{name}, 10 in 10 s: {} of {} requests admitted, at most {} within 10 s",
        admitted.len(),
        seen.asked.len(),
        most(&admitted, WINDOW)
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

    let filled = format!(r#"fill="{ADMITTED}""#);
    let hollow = format!(r##"fill="#fff" stroke="{REFUSED}" stroke-width="1.1""##);
    dots(&mut svg, "admitted", &filled, &admitted, (94.0, -4.5))?;
    dots(&mut svg, "refused", &hollow, &refused, (112.0, 4.5))?;
    if shapes {
        dots(&mut svg, "their turns", &filled, &seen.turns(), (174.0, 0.0))?;
    }
    draw_remaining(&mut svg, seen, left_top)?;
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

/// Draws the axis, and a thin line for each edge of a window where there are windows.
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
    let edges = if has_windows { "; dashed: where windows begin" } else { "" };
    writeln!(svg, r#"<text x="{middle}" y="{under}" text-anchor="middle">seconds{edges}</text>"#)
}

fn label(svg: &mut String, y: f64, text: &str) -> fmt::Result {
    let right = LEFT - 12.0;
    writeln!(svg, r#"<text x="{right}" y="{y}" text-anchor="end">{text}</text>"#)
}

/// Draws a dot for each moment, those of one moment in a column that goes `step` further each.
fn dots(
    svg: &mut String,
    name: &str,
    style: &str,
    moments: &[u64],
    (base, step): (f64, f64),
) -> fmt::Result {
    label(svg, base + 4.0, name)?;
    writeln!(svg, "<g {style}>")?;
    let mut nth = 0;
    for (i, at) in moments.iter().enumerate().take_while(|(_, at)| **at <= END) {
        nth = if i > 0 && moments[i - 1] == *at { nth + 1 } else { 0 };
        let (x, y) = (x(*at), base + step * f64::from(nth));
        writeln!(svg, r#"<circle cx="{x}" cy="{y}" r="1.9"/>"#)?;
    }
    writeln!(svg, "</g>")
}

/// Draws `remaining` as steps between 0 and the limit.
fn draw_remaining(svg: &mut String, seen: &Seen, top: f64) -> fmt::Result {
    let y = |remaining: u64| top + 60.0 - 6.0 * remaining as f64;
    label(svg, y(LIMIT / 2) + 4.0, "remaining")?;
    let (start, end, right) = (x(0), x(END), x(END) + 6.0);
    for level in [0, LIMIT] {
        let at = y(level);
        writeln!(svg, r##"<path d="M{start} {at}H{end}" stroke="#ddd"/>"##)?;
        writeln!(svg, r#"<text x="{right}" y="{}" font-size="11">{level}</text>"#, at + 4.0)?;
    }
    let mut line = String::new();
    for (i, (at, remaining)) in seen.remaining.iter().enumerate() {
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
    async fn the_pictures_in_the_guide_are_those_that_are_drawn_now() {
        for algorithm in Algorithm::ALL {
            let drawn = draw(algorithm, &watch(algorithm).await.unwrap()).unwrap();
            let kept = fs::read_to_string(path(algorithm)).unwrap();
            assert!(kept == drawn, "{algorithm}: run `cargo run --example pictures`");
            assert!(kept.len() < 30_000, "{algorithm}: {} bytes", kept.len());
        }
    }

    #[tokio::test]
    async fn no_stretch_has_more_admissions_than_the_guide_says() {
        for algorithm in Algorithm::ALL {
            let seen = watch(algorithm).await.unwrap();
            for length in (STEP..=WINDOW).step_by(STEP as usize) {
                let most = most(&seen.admitted(), length) as u64;
                let share = LIMIT * length / WINDOW;
                let bound = match algorithm {
                    Algorithm::FixedWindow => 2 * LIMIT,
                    Algorithm::SlidingWindowLog => LIMIT,
                    _ => LIMIT + share,
                };
                assert!(most <= bound, "{algorithm}: {most} in {length} ms, not {bound}");
            }
        }
    }

    #[tokio::test]
    async fn the_pictures_show_what_the_guide_says_of_them() {
        let in_a_window = async |algorithm| {
            let seen = watch(algorithm).await.unwrap();
            most(&seen.admitted(), WINDOW)
        };
        assert_eq!(in_a_window(Algorithm::FixedWindow).await, 20);
        assert_eq!(in_a_window(Algorithm::SlidingWindowLog).await, 10);
        let turns = watch(Algorithm::LeakyBucket).await.unwrap().turns();
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{turns:?}");
    }
}

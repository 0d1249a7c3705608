//! The pictures: two files with two panels each.

use std::fmt::{self, Write as _};

use crate::{
    PERCENTS,
    fleet::{Results, Setting},
    tables::grouped,
};

const WIDTH: f64 = 776.0;
const HEIGHT: f64 = 344.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 296.0;
const PANEL: f64 = 300.0;
const LEFTS: [f64; 2] = [74.0, 432.0];
/// The colours of the lease budgets, the lightest for the smallest.
const COLOURS: [&str; 5] = ["#8bb9fe", "#3d8bfd", "#0a58ca", "#052c65", "#c9302c"];

/// An axis of a panel.
struct Axis {
    text: &'static str,
    /// The values at its ends: exponents of ten, or percentages.
    ends: (f64, f64),
    is_log: bool,
}

struct Panel {
    left: f64,
    x: Axis,
    y: Axis,
}

type Points = Vec<(f64, f64)>;

/// Returns the pictures with their names.
pub(crate) fn pictures(
    rows: &[(Setting, Results)],
) -> Result<[(&'static str, String); 2], fmt::Error> {
    let rows: Vec<_> = rows.iter().filter(|(of, _)| of.limit > 10_000).copied().collect();
    let early = |results: &Results| results.rejected_early();
    let servers = || Axis { text: "servers", ends: (0.0, 4.0), is_log: true };
    let hold = || Axis { text: "permits per server", ends: (0.0, 5.0), is_log: true };
    let rejected = || Axis { text: "rejected early, percent", ends: (0.0, 12.0), is_log: false };
    let calls = Axis { text: "calls to the storage per second", ends: (1.0, 6.0), is_log: true };
    let share = Axis { text: "calls per request", ends: (-5.0, 1.0), is_log: true };
    let x = |of: &Setting| of.servers as f64;
    let batch = |of: &Setting| of.allowance() as f64;
    let fleet = draw(
        "480,000 requests per second for one key with a limit of 400,000",
        &[
            (
                Panel { left: LEFTS[0], x: servers(), y: calls },
                lines(&rows, |of, results| (x(of), results.calls_per_second(of))),
            ),
            (
                Panel { left: LEFTS[1], x: servers(), y: rejected() },
                lines(&rows, |of, results| (x(of), early(results))),
            ),
        ],
    )?;
    let rows: Vec<_> = rows.into_iter().filter(|(of, _)| of.allowance() >= 1).collect();
    let size = draw(
        "The same, by permits per server: the lease budget divided by the number of servers",
        &[
            (
                Panel { left: LEFTS[0], x: hold(), y: share },
                lines(&rows, |of, results| {
                    (batch(of), results.calls as f64 / results.requests as f64)
                }),
            ),
            (
                Panel { left: LEFTS[1], x: hold(), y: rejected() },
                lines(&rows, |of, results| (batch(of), early(results))),
            ),
        ],
    )?;
    Ok([("sizing_fleet.svg", fleet), ("sizing_batch.svg", size)])
}

/// Returns the points of each lease budget.
fn lines(
    rows: &[(Setting, Results)],
    point: impl Fn(&Setting, &Results) -> (f64, f64),
) -> Vec<Points> {
    let of = |percent: &f64| {
        let own = rows.iter().filter(|(of, _)| of.percent == Some(*percent));
        own.map(|(of, results)| point(of, results)).collect()
    };
    PERCENTS.iter().map(of).collect()
}

fn draw(title: &str, panels: &[(Panel, Vec<Points>)]) -> Result<String, fmt::Error> {
    let mut svg = String::new();
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" font-family="sans-serif" font-size="12" fill="#222">"##
    )?;
    writeln!(svg, "<title>{title}</title>")?;
    writeln!(svg, r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##)?;
    writeln!(svg, r#"<text x="12" y="22" font-size="14" font-weight="bold">{title}</text>"#)?;
    writeln!(svg, r#"<text x="12" y="44">budget</text>"#)?;
    for (i, (percent, colour)) in PERCENTS.iter().zip(COLOURS).enumerate() {
        let left = 80.0 + 70.0 * i as f64;
        writeln!(svg, r#"<path d="M{left} 40h16" stroke="{colour}" stroke-width="2"/>"#)?;
        writeln!(svg, r#"<text x="{}" y="44">{percent} %</text>"#, left + 21.0)?;
    }
    for (panel, lines) in panels {
        panel.axes(&mut svg)?;
        for (points, colour) in lines.iter().zip(COLOURS) {
            panel.line(&mut svg, points, colour)?;
        }
    }
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

impl Axis {
    /// Returns the position of a value on the axis, from 0 to 1.
    fn position(&self, value: f64) -> f64 {
        let value = if self.is_log { value.log10() } else { value };
        ((value - self.ends.0) / (self.ends.1 - self.ends.0)).clamp(0.0, 1.0)
    }

    /// Returns the values of the labels, and their texts.
    fn ticks(&self) -> Vec<(f64, String)> {
        let (from, to) = (self.ends.0 as i32, self.ends.1 as i32);
        if !self.is_log {
            return (from..=to).step_by(2).map(|at| (f64::from(at), at.to_string())).collect();
        }
        let text = |power: i32| match power {
            ..0 => format!("{:.1$}", 10_f64.powi(power), power.unsigned_abs() as usize),
            _ => grouped(10_f64.powi(power)),
        };
        (from..=to).map(|power| (10_f64.powi(power), text(power))).collect()
    }
}

impl Panel {
    fn x(&self, value: f64) -> f64 {
        self.left + PANEL * self.x.position(value)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * self.y.position(value)
    }

    fn axes(&self, svg: &mut String) -> fmt::Result {
        let (left, right) = (self.left, self.left + PANEL);
        for (value, text) in self.y.ticks() {
            let (y, before) = (self.y(value), left - 6.0);
            writeln!(svg, r##"<path d="M{left} {y:.1}H{right}" stroke="#ddd"/>"##)?;
            let below = y + 4.0;
            writeln!(svg, r#"<text x="{before}" y="{below:.1}" text-anchor="end">{text}</text>"#)?;
        }
        for (value, text) in self.x.ticks() {
            let (x, tick, number) = (self.x(value), BOTTOM + 5.0, BOTTOM + 18.0);
            writeln!(svg, r##"<path d="M{x:.1} {BOTTOM}V{tick}" stroke="#222"/>"##)?;
            writeln!(svg, r#"<text x="{x:.1}" y="{number}" text-anchor="middle">{text}</text>"#)?;
        }
        writeln!(svg, r##"<path d="M{left} {BOTTOM}H{right}" stroke="#222"/>"##)?;
        let (middle, under, above) = (left + PANEL / 2.0, BOTTOM + 37.0, TOP - 10.0);
        let (x_text, y_text) = (self.x.text, self.y.text);
        writeln!(svg, r#"<text x="{middle}" y="{under}" text-anchor="middle">{x_text}</text>"#)?;
        writeln!(svg, r#"<text x="{left}" y="{above}">{y_text}</text>"#)
    }

    fn line(&self, svg: &mut String, points: &Points, colour: &str) -> fmt::Result {
        let mut path = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            let to = if i == 0 { 'M' } else { 'L' };
            write!(path, "{to}{:.1} {:.1}", self.x(*x), self.y(*y))?;
        }
        writeln!(svg, r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>"#)?;
        for (x, y) in points {
            let (x, y) = (self.x(*x), self.y(*y));
            writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.2" fill="{colour}"/>"#)?;
        }
        Ok(())
    }
}

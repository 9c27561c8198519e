//! Plots: lines over sizes, as SVG text. The page's background may be light or dark, so the plot brings its own.

use std::fmt::Write;

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 460.0;
/// The plot area; names stand to its right.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 410.0;
const COLOURS: [&str; 12] = [
    "#1b5fc1", "#c1461b", "#2a8a3a", "#8a2a86", "#b8860b", "#138a8a", "#444444", "#d0447c", "#6a5acd",
    "#7a4b1e", "#5f8a00", "#999999",
];

/// One subject's values.
pub struct Line {
    /// Whose.
    pub name: String,
    /// (Bytes, value), ascending.
    pub points: Vec<(u64, f64)>,
}

/// Draws lines: sizes on a logarithmic axis, values on a linear one from zero.
pub fn svg(title: &str, unit: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let top = nice(points().map(|point| point.1).fold(0.0, f64::max));
    let sizes = || points().map(|point| point.0);
    let (least, most) = (sizes().min().unwrap_or(1), sizes().max().unwrap_or(2));
    let x = |bytes: u64| {
        let span = (most as f64 / least as f64).log2().max(1.0);
        LEFT + (bytes as f64 / least as f64).log2() / span * (RIGHT - LEFT)
    };
    let y = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"16\">{title} ({unit})</text>\n"
    );
    for step in 0..=5 {
        let value = top * f64::from(step) / 5.0;
        let at = y(value);
        push(&mut out, format_args!("<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#dddddd\"/>"));
        push(
            &mut out,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                LEFT - 8.0,
                at + 4.0
            ),
        );
    }
    let mut marks: Vec<u64> = sizes().collect();
    marks.sort_unstable();
    marks.dedup();
    for bytes in marks {
        let (at, below) = (x(bytes), BOTTOM + 20.0);
        push(
            &mut out,
            format_args!("<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", size(bytes)),
        );
    }
    for ((line, colour), label_y) in
        lines.iter().zip(COLOURS.iter().cycle()).zip((0..).map(|n| TOP + 22.0 * f64::from(n)))
    {
        let path: Vec<String> =
            line.points.iter().map(|(b, v)| format!("{:.1},{:.1}", x(*b), y(*v))).collect();
        push(
            &mut out,
            format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            ),
        );
        let (from, to, text) = (RIGHT + 16.0, RIGHT + 36.0, RIGHT + 42.0);
        push(
            &mut out,
            format_args!("<path d=\"M{from} {label_y:.1}H{to}\" stroke=\"{colour}\" stroke-width=\"2\"/>"),
        );
        push(&mut out, format_args!("<text x=\"{text}\" y=\"{:.1}\">{}</text>", label_y + 4.0, line.name));
    }
    out + "</svg>\n"
}

fn push(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a String takes all text");
}

/// The next 1, 2 or 5 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|top| *top >= value)
        .unwrap_or(10.0 * power)
}

fn size(bytes: u64) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

#[cfg(test)]
mod tests {
    use super::{Line, nice, svg};

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, top) in
            [(0.7, 1.0), (1.0, 1.0), (1.2, 2.0), (93.0, 100.0), (131.0, 200.0), (420.0, 500.0)]
        {
            assert!((nice(value) - top).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn a_line_starts_left_and_ends_right_and_is_named() {
        let line = |name: &str, end| Line { name: name.into(), points: vec![(1 << 16, 0.0), (4 << 20, end)] };
        let drawn = svg("title", "GB/s", &[line("a", 100.0), line("b", 50.0)]);
        assert!(
            drawn.contains("points=\"60.0,410.0 690.0,50.0\"")
                && drawn.contains("points=\"60.0,410.0 690.0,230.0\"")
        );
        assert!(
            drawn.contains(">a</text>") && drawn.contains(">4 MiB</text>") && drawn.ends_with("</svg>\n")
        );
    }
}

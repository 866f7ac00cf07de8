//! Lines over time as an SVG: axes with round numbers, a legend, and a band for the time in which all were there. Pure.

use std::fmt::Write;

/// Of the drawing, in its own units.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 24.0;
/// Steps of an axis, about.
const STEPS: f64 = 4.0;

/// One plot.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// Of the values; none for counts.
    pub(super) unit: &'static str,
    pub(super) lines: Vec<Line>,
}

/// Values over seconds.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Draws a plot of so many seconds as an HTML figure. All were there from `steady` on.
pub(super) fn draw(plot: &Plot, seconds: f64, steady: Option<f64>) -> String {
    let lines: Vec<&Line> = plot.lines.iter().filter(|line| !line.points.is_empty()).collect();
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(0.0, f64::max);
    let step = round_step(highest / STEPS);
    let top = (highest / step).ceil().max(1.0) * step;
    let across = seconds.max(1.0);
    let x = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * (at / across).clamp(0.0, 1.0);
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / top).clamp(0.0, 1.0);
    let unit = if plot.unit.is_empty() { String::new() } else { format!(" <i>{}</i>", plot.unit) };
    let mut out = format!("<figure><figcaption>{}{unit}<span>", plot.title);
    for (index, line) in lines.iter().enumerate() {
        let last = line.points.last().map_or(0.0, |(_, value)| *value);
        let _ = write!(out, "<em class=\"l{index}\">{} <b>{}</b></em>", line.name, number(last));
    }
    let _ = write!(
        out,
        "</span></figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} over time\">",
        plot.title
    );
    if let Some(from) = steady {
        let (left, right) = (x(from), x(across));
        let _ = write!(
            out,
            "<rect class=\"steady\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>everybody is there</title></rect>",
            right - left,
            HEIGHT - TOP - BOTTOM
        );
    }
    let mut value = 0.0;
    while value <= top * 1.001 {
        let at = y(value);
        let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT);
        let _ = write!(out, "<text class=\"up\" x=\"{}\" y=\"{:.1}\">{}</text>", LEFT - 6.0, at + 3.5, number(value));
        value += step;
    }
    let every = round_step(across / 6.0).max(1.0);
    let mut at = 0.0;
    while at <= across {
        let _ = write!(out, "<text class=\"along\" x=\"{:.1}\" y=\"{}\">{} s</text>", x(at), HEIGHT - 7.0, number(at));
        at += every;
    }
    for (index, line) in lines.iter().enumerate() {
        let points: Vec<String> = line.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        match points.as_slice() {
            [only] => {
                let (cx, cy) = only.split_once(',').unwrap_or_default();
                let _ = write!(out, "<circle class=\"l{index}\" cx=\"{cx}\" cy=\"{cy}\" r=\"2\"/>");
            }
            _ => {
                let _ = write!(out, "<polyline class=\"l{index}\" points=\"{}\"/>", points.join(" "));
            }
        }
    }
    out.push_str("</svg></figure>");
    out
}

/// The next of 1, 2, 5, 10, 20, … that is not smaller; a tenth of that for small values too.
fn round_step(wanted: f64) -> f64 {
    if !wanted.is_finite() || wanted <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(wanted.log10().floor());
    [1.0, 2.0, 5.0, 10.0].iter().map(|factor| factor * power).find(|step| *step >= wanted * 0.999).unwrap_or(10.0 * power)
}

/// As short as it can be read.
fn number(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        for (wanted, step) in [(0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (23.0, 50.0), (700.0, 1_000.0), (0.0, 1.0), (f64::NAN, 1.0)]
        {
            assert!((round_step(wanted) - step).abs() < step * 1e-9, "{wanted}: {}", round_step(wanted));
        }
        for (value, text) in [(0.0, "0"), (12.0, "12"), (0.25, "0.25"), (1_234.5, "1234"), (2.50, "2.5")] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn lines_stay_inside_and_empty_ones_are_left_out() {
        let line = |name, points: &[(f64, f64)]| Line { name, points: points.to_vec() };
        let plot =
            Plot { title: "t", unit: "ms", lines: vec![line("a", &[(0.0, 3.0), (9.0, 40.0), (99.0, 1e9)]), line("b", &[])] };
        let drawn = draw(&plot, 10.0, Some(3.0));
        assert!(drawn.contains("class=\"l0\"") && !drawn.contains("class=\"l1\""));
        let points = drawn.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').expect("two numbers");
            let (x, y): (f64, f64) = (x.parse().expect("a number"), y.parse().expect("a number"));
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
        }
        assert!(draw(&Plot { lines: vec![], ..plot }, 0.0, None).contains("</svg>"), "nothing is a plot too");
    }
}

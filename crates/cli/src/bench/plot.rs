//! The rows that are times as a picture: a bar for each on a logarithmic scale, with a line at its
//! limit (Scalable Vector Graphics 1.1). Rectangles, lines and words are all that it takes.

use std::fmt::Write;

use super::{
    show::number,
    table::{Row, Unit},
};

const LABEL_WIDTH: f64 = 330.0;
const SCALE_WIDTH: f64 = 560.0;
const NUMBER_WIDTH: f64 = 90.0;
const ROW_HEIGHT: f64 = 24.0;
const HEADER_HEIGHT: f64 = 44.0;

pub(super) fn svg(rows: &[Row]) -> String {
    let rows: Vec<_> =
        rows.iter().filter(|row| row.unit == Unit::Micros && row.p50 > 0.0).collect();
    let scale = Scale::over(&rows);
    let width = LABEL_WIDTH + SCALE_WIDTH + NUMBER_WIDTH;
    let height = HEADER_HEIGHT + ROW_HEIGHT * (rows.len() as f64 + 0.5);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"18\">lazaret bench: median, up to the 99th percentile; \
         the line is its limit: what the machine takes for the bare steps of it</text>\n"
    );
    for power in scale.from..=scale.to {
        let x = scale.x(10_f64.powi(power));
        let words = number(Unit::Micros, 10_f64.powi(power));
        let bottom = height - ROW_HEIGHT / 2.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{HEADER_HEIGHT}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"38\" text-anchor=\"middle\" fill=\"#777\">{words}</text>"
        );
    }
    for (index, row) in rows.iter().enumerate() {
        push_row(&mut svg, row, &scale, HEADER_HEIGHT + ROW_HEIGHT * index as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

fn push_row(svg: &mut String, row: &Row, scale: &Scale, top: f64) {
    let (text, bar) = (top + 17.0, top + 5.0);
    let (median, last) = (scale.x(row.p50), scale.x(row.p99));
    let rectangle = |from: f64, to: f64, colour: &str| {
        let width = (to - from).max(0.0);
        format!(
            "<rect x=\"{from:.1}\" y=\"{bar}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>"
        )
    };
    let _ = writeln!(
        svg,
        "<text x=\"8\" y=\"{text}\">{}</text>{}{}<text x=\"{:.1}\" y=\"{text}\">{}</text>",
        escaped(&row.title),
        rectangle(LABEL_WIDTH, median, "#3b6ea5"),
        rectangle(median, last, "#b9cfe4"),
        last.max(median) + 5.0,
        number(row.unit, row.p50),
    );
    if let Some(limit) = &row.limit {
        let x = scale.x(limit.value);
        let (from, to) = (top + 2.0, top + ROW_HEIGHT - 2.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{from}\" x2=\"{x:.1}\" y2=\"{to}\" stroke=\"#c33\" \
             stroke-width=\"2\"><title>{}</title></line>",
            escaped(&limit.name)
        );
    }
}

/// Microseconds along the width, from one power of ten to another.
struct Scale {
    from: i32,
    to: i32,
}

impl Scale {
    fn over(rows: &[&Row]) -> Self {
        let values = || {
            let limits = rows.iter().filter_map(|row| row.limit.as_ref()).map(|limit| limit.value);
            rows.iter()
                .flat_map(|row| [row.p50, row.p99])
                .chain(limits)
                .filter(|value| *value > 0.0)
        };
        let power = |value: f64| value.log10();
        let least = values().map(power).fold(f64::INFINITY, f64::min);
        let most = values().map(power).fold(f64::NEG_INFINITY, f64::max);
        match least <= most {
            true => Self { from: least.floor() as i32, to: most.ceil() as i32 },
            false => Self { from: 0, to: 1 },
        }
    }

    fn x(&self, micros: f64) -> f64 {
        let span = f64::from((self.to - self.from).max(1));
        let part = (micros.log10() - f64::from(self.from)) / span;
        LABEL_WIDTH + SCALE_WIDTH * part.clamp(0.0, 1.0)
    }
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bar_ends_where_its_value_lies_between_powers_of_ten() {
        let times = vec![Duration::from_micros(100)];
        let row = Row::of_times("a", "A < B", times).beside("b", 10.0);
        let scale = Scale::over(&[&row]);
        assert_eq!((scale.from, scale.to), (1, 2));
        assert_eq!(scale.x(10.0), LABEL_WIDTH);
        assert_eq!(scale.x(100.0), LABEL_WIDTH + SCALE_WIDTH);
        let svg = svg(&[row]);
        assert!(svg.contains("A &lt; B") && svg.contains("<title>b</title>"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 3, "the ground and two bars");
    }

    #[test]
    fn nothing_is_a_picture_too() {
        assert!(svg(&[]).ends_with("</svg>\n"));
    }
}

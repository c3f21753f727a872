//! How cost grows with the table: upserts, gets and a group-by at three sizes, on one chart.

use std::collections::BTreeMap;
use std::path::Path;

use plotters::prelude::*;

use crate::record::Record;
use crate::scale::{EVENTS_PER_AGENT, Scale};
use crate::steps::Request;
use crate::tables::Result;

/// Sizes in agents, beside those of the scale.
const FACTORS: [f64; 3] = [1.0, 5.0, 25.0];
const COLORS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(255, 127, 14),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(23, 190, 207),
    RGBColor(127, 127, 127),
];

/// The requests of a run, by size: 2, 10 and 50 M events at full scale.
pub fn requests(request: &Request) -> Vec<Request> {
    let sized = |factor: f64| Request {
        scale: Scale { agents: (request.scale.agents as f64 * factor) as u64, ..request.scale },
        works: ["W3", "W4", "W6"].map(str::to_owned).to_vec(),
        groups: vec!["events".to_owned()],
    };
    FACTORS.map(sized).to_vec()
}

/// The points of a line, by events.
type Line = Vec<(f64, f64)>;

/// One part of the chart.
struct Panel {
    title: &'static str,
    work: &'static str,
    case: &'static str,
    /// From a record's value and the number of events.
    value: fn(f64, f64) -> f64,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "upserts, thousands of rows a second",
        work: "W3",
        case: "upserts",
        value: |rate, _| rate / 1e3,
    },
    Panel {
        title: "get after them, microseconds",
        work: "W4",
        case: "events, all columns, after W3",
        value: |us, _| us,
    },
    Panel {
        title: "group by kind after them, nanoseconds a row",
        work: "W6",
        case: "group by kind, after W3",
        value: |ms, events| ms * 1e6 / events,
    },
];

impl Panel {
    fn lines(&self, runs: &[(u64, Vec<Record>)]) -> BTreeMap<String, Line> {
        let mut lines: BTreeMap<String, Line> = BTreeMap::new();
        for (agents, records) in runs {
            let events = (agents * EVENTS_PER_AGENT) as f64;
            let fits = |record: &&Record| record.work == self.work && record.case == self.case;
            for record in records.iter().filter(fits) {
                let name = format!("{} {}", record.peer, record.door);
                let point = (events, (self.value)(record.value, events));
                lines.entry(name.trim().to_owned()).or_default().push(point);
            }
        }
        lines
    }
}

/// Draws all panels into an SVG file.
pub fn draw(path: &Path, runs: &[(u64, Vec<Record>)]) -> Result<()> {
    let root = SVGBackend::new(path, (1_320, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let sizes = || runs.iter().map(|(agents, _)| (agents * EVENTS_PER_AGENT) as f64);
    let (least, most) = (sizes().fold(f64::MAX, f64::min), sizes().fold(0.0, f64::max));
    for (area, panel) in root.split_evenly((1, PANELS.len())).iter().zip(&PANELS) {
        let lines = panel.lines(runs);
        let top = lines.values().flatten().map(|(_, value)| *value).fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(panel.title, ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(52)
            .build_cartesian_2d((least..most).log_scale(), 0.0..top.max(1e-9) * 1.35)?;
        chart
            .configure_mesh()
            .x_desc("events")
            .x_labels(4)
            .x_label_formatter(&|events| crate::report::number(*events))
            .light_line_style(WHITE)
            .draw()?;
        for (number, (name, line)) in lines.into_iter().enumerate() {
            let color = COLORS[number % COLORS.len()];
            chart
                .draw_series(LineSeries::new(line.clone(), color.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], color));
            let dots = line.into_iter().map(|point| Circle::new(point, 3, color.filled()));
            chart.draw_series(dots)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .draw()?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Unit;

    #[test]
    fn a_line_has_a_point_for_each_size() {
        let record = |value| Record {
            peer: "silt".to_owned(),
            work: "W6".to_owned(),
            case: "group by kind, after W3".to_owned(),
            door: String::new(),
            unit: Unit::Millis,
            value,
            runs: vec![],
            answers: vec![],
            note: String::new(),
        };
        let runs = vec![(20, vec![record(2.0)]), (100, vec![record(10.0)])];
        let lines = PANELS[2].lines(&runs);
        assert_eq!(lines["silt"], vec![(20_000.0, 100.0), (100_000.0, 100.0)]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("chart.svg");
        draw(&path, &runs).expect("a chart");
        let svg = std::fs::read_to_string(path).expect("a file");
        assert!(svg.contains("nanoseconds a row") && svg.contains("\nsilt\n"), "{svg}");
    }
}

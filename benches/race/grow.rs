//! How cost grows with the table: upserts, gets before and after them, and a group-by after them at
//! some sizes, on one chart with logarithmic axes.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::series::DashedLineSeries;

use crate::record::Record;
use crate::report::number;
use crate::scale::{EVENTS_PER_AGENT, Scale};
use crate::steps::Request;
use crate::tables::Result;

/// One a peer, in the order in which they are met.
const COLORS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(255, 127, 14),
    RGBColor(148, 103, 189),
    RGBColor(90, 90, 90),
];
/// Length of a dash and of the gap behind it, one pair a way in; the first is drawn whole.
const DASHES: [(u32, u32); 4] = [(1, 0), (9, 4), (3, 4), (14, 6)];
const PANEL: (u32, u32) = (680, 430);
/// Pixels that the names of the lines take beside a panel.
const NAMES: u32 = 190;

/// The requests of a run, by size: with factors 1, 5 and 25 those of 2, 10 and 50 M events at full
/// scale.
pub fn requests(request: &Request, factors: &[f64]) -> Vec<Request> {
    let sized = |factor: &f64| Request {
        scale: Scale {
            agents: ((request.scale.agents as f64 * factor) as u64).max(1),
            ..request.scale
        },
        works: ["W3", "W4", "W6"].map(str::to_owned).to_vec(),
        groups: vec!["events".to_owned()],
    };
    factors.iter().map(sized).collect()
}

/// The points of a line, by events.
type Points = Vec<(f64, f64)>;

/// What a way in of a peer took, at each size.
struct Line {
    peer: String,
    door: String,
    points: Points,
}

impl Line {
    fn name(&self) -> String {
        format!("{} {}", self.peer, self.door).trim().to_owned()
    }

    fn last(&self) -> f64 {
        self.points.last().map_or(0.0, |(_, value)| *value)
    }
}

/// One part of the chart.
struct Panel {
    title: &'static str,
    work: &'static str,
    case: &'static str,
    /// From a record's value and the number of events.
    value: fn(f64, f64) -> f64,
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "upserts, thousands of rows a second",
        work: "W3",
        case: "upserts",
        value: |rate, _| rate / 1e3,
    },
    Panel {
        title: "get before upserts, microseconds",
        work: "W4",
        case: "events, all columns",
        value: |us, _| us,
    },
    Panel {
        title: "get after upserts, microseconds",
        work: "W4",
        case: "events, all columns, after W3",
        value: |us, _| us,
    },
    Panel {
        title: "group by kind after upserts, nanoseconds a row",
        work: "W6",
        case: "group by kind, after W3",
        value: |ms, events| ms * 1e6 / events,
    },
];

impl Panel {
    /// The lines, those that end highest first.
    fn lines(&self, runs: &[(u64, Vec<Record>)]) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for (agents, records) in runs {
            let events = (agents * EVENTS_PER_AGENT) as f64;
            let fits = |record: &&Record| record.work == self.work && record.case == self.case;
            for record in records.iter().filter(fits) {
                let point = (events, (self.value)(record.value, events));
                let same = |line: &&mut Line| line.peer == record.peer && line.door == record.door;
                match lines.iter_mut().find(same) {
                    Some(line) => line.points.push(point),
                    None => lines.push(Line {
                        peer: record.peer.clone(),
                        door: record.door.clone(),
                        points: vec![point],
                    }),
                }
            }
        }
        lines.sort_by(|a, b| b.last().total_cmp(&a.last()));
        lines
    }

    fn draw(&self, area: &Area<'_>, runs: &[(u64, Vec<Record>)], peers: &[&str]) -> Result<()> {
        let (plot, names) = area.split_horizontally(PANEL.0 - NAMES);
        let lines = self.lines(runs);
        let values = || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
        let (lowest, highest) = (values().fold(f64::MAX, f64::min), values().fold(1e-9, f64::max));
        let events = || runs.iter().map(|(agents, _)| (agents * EVENTS_PER_AGENT) as f64);
        let (least, most) = (events().fold(f64::MAX, f64::min), events().fold(0.0, f64::max));
        let mut chart = ChartBuilder::on(&plot)
            .caption(self.title, ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(
                (least / 1.15..most * 1.15).log_scale().with_key_points(events().collect()),
                (lowest.min(highest) / 1.4..highest * 1.4).log_scale(),
            )?;
        chart
            .configure_mesh()
            .x_desc("events")
            .x_label_formatter(&|events| number(*events))
            .y_label_formatter(&|value| number(*value))
            .bold_line_style(RGBColor(225, 225, 225))
            .light_line_style(WHITE)
            .draw()?;
        let mut y = 44;
        for line in lines {
            let place = peers.iter().position(|peer| *peer == line.peer).unwrap_or_default();
            let style = COLORS[place % COLORS.len()].stroke_width(2);
            let (dash, gap) = DASHES[self.way_in(runs, &line) % DASHES.len()];
            let points = line.points.clone();
            let dots = points.iter().map(|point| Circle::new(*point, 3, style.filled()));
            chart.draw_series(dots.collect::<Vec<_>>())?;
            let sample = [(4, y), (34, y)];
            if gap == 0 {
                chart.draw_series(LineSeries::new(points, style))?;
                names.draw(&PathElement::new(sample, style))?;
            } else {
                chart.draw_series(DashedLineSeries::new(points, dash, gap, style))?;
                names.draw(&DashedPathElement::new(sample, dash, gap, style))?;
            }
            names.draw(&Text::new(line.name(), (40, y - 7), ("sans-serif", 13)))?;
            y += 20;
        }
        Ok(())
    }

    /// Which of its peer's ways in a line shows.
    fn way_in(&self, runs: &[(u64, Vec<Record>)], line: &Line) -> usize {
        let mut doors: Vec<&str> = Vec::new();
        for record in runs.iter().flat_map(|(_, records)| records) {
            let fits = record.work == self.work && record.case == self.case;
            if fits && record.peer == line.peer && !doors.contains(&record.door.as_str()) {
                doors.push(&record.door);
            }
        }
        doors.iter().position(|door| *door == line.door).unwrap_or_default()
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws all panels into an SVG file.
pub fn draw(path: &Path, runs: &[(u64, Vec<Record>)]) -> Result<()> {
    let root = SVGBackend::new(path, (2 * PANEL.0, 2 * PANEL.1)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut peers: Vec<&str> = Vec::new();
    for record in runs.iter().flat_map(|(_, records)| records) {
        if !peers.contains(&record.peer.as_str()) {
            peers.push(&record.peer);
        }
    }
    for (area, panel) in root.split_evenly((2, 2)).iter().zip(&PANELS) {
        panel.draw(area, runs, &peers)?;
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
        let lines = PANELS[3].lines(&runs);
        assert_eq!((lines.len(), lines[0].name().as_str()), (1, "silt"));
        assert_eq!(lines[0].points, vec![(20_000.0, 100.0), (100_000.0, 100.0)]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("chart.svg");
        draw(&path, &runs).expect("a chart");
        let svg = std::fs::read_to_string(path).expect("a file");
        assert!(svg.contains("nanoseconds a row") && svg.contains("\nsilt\n"), "{svg}");
    }
}

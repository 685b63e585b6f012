//! Figures of one run, and how they are shown.

use crate::place::{Cores, Place};
use serde_json::{Map, Value, json};
use std::fmt;

/// The columns, by the names of places.
const COLUMNS: [&str; 4] = ["native", "ours", "ours, fast path off", "peer"];

/// Rows in the order of their first figures.
pub(crate) struct Table {
    cores: Cores,
    rows: Vec<Row>,
}

/// Microseconds by column, one value per pair.
struct Row {
    name: String,
    values: [Vec<f64>; COLUMNS.len()],
}

impl Table {
    pub(crate) fn new(cores: Cores) -> Table {
        Table { cores, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &str, place: &Place, value: f64) {
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name: name.to_owned(), values: Default::default() });
            self.rows.len() - 1
        });
        if let Some(column) = COLUMNS.iter().position(|column| *column == place.name()) {
            self.rows[at].values[column].push(value);
        }
    }
}

impl Row {
    /// Median of the ratios, pair by pair: the machine's speed drifts, its ratios do not.
    fn ratio(&self, a: usize, b: usize) -> Option<f64> {
        median(self.values[a].iter().zip(&self.values[b]).map(|(a, b)| a / b))
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
        writeln!(f, "\n{}:\n", self.cores)?;
        writeln!(f, "| row (µs unless said) | {} | ours/native | ours/peer |", COLUMNS.join(" | "))?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            write!(f, "| {} |", row.name)?;
            for values in &row.values {
                write!(f, " {} |", number(median(values.iter().copied())))?;
            }
            writeln!(f, " {} | {} |", number(row.ratio(1, 0)), number(row.ratio(1, 3)))?;
        }
        Ok(())
    }
}

/// All figures: cores, row, column, values.
pub(crate) fn json(tables: &[Table]) -> String {
    let row = |row: &Row| {
        let columns = COLUMNS.iter().zip(&row.values).filter(|(_, values)| !values.is_empty());
        (row.name.clone(), columns.map(|(column, values)| ((*column).to_owned(), json!(values))).collect::<Map<_, _>>())
    };
    let table = |table: &Table| {
        let rows = table.rows.iter().map(row).map(|(name, columns)| (name, Value::Object(columns)));
        (table.cores.to_string(), Value::Object(rows.collect()))
    };
    format!("{:#}\n", Value::Object(tables.iter().map(table).collect()))
}

//! Writes a CSV file: UTF-8, RFC 4180, a header, lines that end with CRLF.
//!
//! A null is an empty field, an empty text is `""`. Start at [`CsvFile::create`].

use std::io::{self, Write};

use jiff::{SignedDuration, Timestamp, civil};

use super::columns::{ColumnValues, GroupColumn, OutputColumn, OutputKind, RowGroup, TableLayout};

const EPOCH: civil::Date = civil::date(1970, 1, 1);

pub(super) struct CsvFile<W: Write> {
    out: W,
    columns: Vec<OutputColumn>,
    line: Vec<u8>,
}

impl<W: Write> CsvFile<W> {
    pub(super) fn create(mut out: W, layout: &TableLayout) -> io::Result<CsvFile<W>> {
        let mut line = Vec::new();
        for (place, column) in layout.columns.iter().enumerate() {
            separate(place, &mut line);
            append_text(column.name.as_bytes(), &mut line);
        }
        line.extend_from_slice(b"\r\n");
        out.write_all(&line)?;
        Ok(CsvFile { out, columns: layout.columns.clone(), line })
    }

    pub(super) fn write(&mut self, group: &RowGroup) -> io::Result<()> {
        let mut next = vec![0; group.columns.len()];
        for row in 0..group.rows {
            self.line.clear();
            for (place, (column, output)) in group.columns.iter().zip(&self.columns).enumerate() {
                separate(place, &mut self.line);
                let Some(at) = next.get_mut(place) else { continue };
                if column.levels.get(row) == Some(&1) {
                    append(column, output.kind, *at, &mut self.line);
                    *at += 1;
                }
            }
            self.line.extend_from_slice(b"\r\n");
            self.out.write_all(&self.line)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> W {
        self.out
    }
}

fn separate(place: usize, line: &mut Vec<u8>) {
    if place > 0 {
        line.push(b',');
    }
}

/// Appends a value of a column; none if there are fewer values.
fn append(column: &GroupColumn, kind: OutputKind, at: usize, line: &mut Vec<u8>) {
    let mut show = |text: Option<String>| line.extend_from_slice(text.unwrap_or_default().as_bytes());
    match &column.values {
        ColumnValues::Boolean(values) => show(values.get(at).map(bool::to_string)),
        ColumnValues::Int32(values) => show(values.get(at).and_then(|days| day(*days))),
        ColumnValues::Int64(values) if kind == OutputKind::Timestamp => {
            show(values.get(at).and_then(|micros| instant(*micros)));
        }
        ColumnValues::Int64(values) => show(values.get(at).map(i64::to_string)),
        ColumnValues::Double(values) => show(values.get(at).map(f64::to_string)),
        ColumnValues::Decimal(values) => {
            let OutputKind::Decimal { scale } = kind else { return };
            show(values.get(at).map(|value| decimal(*value, scale)));
        }
        ColumnValues::Text(bytes, ends) => {
            let start = if at == 0 { Some(&0) } else { ends.get(at - 1) };
            if let (Some(start), Some(end)) = (start, ends.get(at)) {
                append_text(bytes.get(*start..*end).unwrap_or_default(), line);
            }
        }
    }
}

/// Quotes what needs it. Empty text is quoted, so that it is no null.
fn append_text(text: &[u8], line: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\r' | b'\n');
    let padded = text.first() == Some(&b' ') || text.last() == Some(&b' ');
    if !text.is_empty() && !padded && !text.iter().any(special) {
        line.extend_from_slice(text);
        return;
    }
    line.push(b'"');
    for byte in text {
        if *byte == b'"' {
            line.push(b'"');
        }
        line.push(*byte);
    }
    line.push(b'"');
}

fn day(days: i32) -> Option<String> {
    let date = EPOCH.checked_add(SignedDuration::from_hours(i64::from(days) * 24)).ok()?;
    Some(date.to_string())
}

fn instant(micros: i64) -> Option<String> {
    Timestamp::from_microsecond(micros).ok().map(|at| at.to_string())
}

/// The number with exactly so many digits after the point.
fn decimal(value: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::syncing::cell::ColumnType;

    #[test]
    fn every_kind_of_value_has_one_spelling() {
        let kinds = [
            (ColumnType::Bigint, OutputKind::Bigint),
            (ColumnType::Text, OutputKind::Text),
            (ColumnType::Decimal, OutputKind::Decimal { scale: 2 }),
            (ColumnType::Date, OutputKind::Date),
            (ColumnType::Timestamp, OutputKind::Timestamp),
            (ColumnType::Double, OutputKind::Double),
            (ColumnType::Boolean, OutputKind::Boolean),
        ];
        let columns = kinds
            .iter()
            .zip(["id", "a,b", "c", "d", "e", "f", "g"])
            .map(|((stored, kind), name)| OutputColumn { name: name.into(), stored: *stored, kind: *kind });
        let layout =
            TableLayout { table: "t".into(), key: Vec::new(), columns: columns.collect(), deleted: false };
        let mut group = RowGroup::new(&layout);
        for (row, text) in ["", "plain", "two\r\nlines, \"quoted\""].into_iter().enumerate() {
            let number = row as i64;
            let [id, text_column, decimal, date, time, double, yes] = group.columns.as_mut_slice() else {
                panic!()
            };
            id.push_i64(number).unwrap();
            text_column.push_text(|out| out.extend_from_slice(text.as_bytes())).unwrap();
            decimal.push_decimal(-i128::from(number)).unwrap();
            date.push_i32(-1).unwrap();
            time.push_i64(1_500_000).unwrap();
            double.push_double(0.1).unwrap();
            yes.push_bool(true).unwrap();
        }
        group.columns.iter_mut().for_each(GroupColumn::push_null);
        for _ in 0..4 {
            assert!(!group.add_row(0));
        }
        let mut file = CsvFile::create(Vec::new(), &layout).unwrap();
        file.write(&group).unwrap();
        let text = String::from_utf8(file.finish()).unwrap();
        let rest = "1969-12-31,1970-01-01T00:00:01.5Z,0.1,true\r\n";
        let want = format!(
            "id,\"a,b\",c,d,e,f,g\r\n0,\"\",0.00,{rest}1,plain,-0.01,{rest}2,\"two\r\nlines, \"\"quoted\"\"\",-0.02,{rest},,,,,,\r\n"
        );
        assert_eq!(text, want);
    }
}

//! Prints tables with aligned columns.

/// Prints rows below their headings, separated by two spaces. `right` lists the right-aligned columns.
pub(super) fn print_table(headings: &[&str], right: &[usize], rows: Vec<Vec<String>>) {
    for line in lines(headings, right, rows) {
        say!("{line}");
    }
}

fn lines(headings: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> Vec<String> {
    let head = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let widest = |at: usize| all.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max();
    let widths: Vec<usize> = (0..headings.len()).map(|at| widest(at).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, wide))| {
            let blanks = " ".repeat(wide.saturating_sub(width(cell)));
            if right.contains(&at) { format!("{blanks}{cell}") } else { format!("{cell}{blanks}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "1", ""], ["long", "1000", "x"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(
            lines(&["NAME", "ROWS", "WHY"], &[1], rows),
            ["NAME  ROWS  WHY", "a        1", "long  1000  x"]
        );
    }
}

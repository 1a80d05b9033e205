//! Tables as Go's `text/tabwriter` lays them out: a cell ends with a tab; a column is as wide as its widest cell in
//! the block of lines that have it; the last cell of a line is not padded.

/// Least width of a column, and the gap behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    least: usize,
    gap: usize,
}

/// Lists.
pub(super) const TABLE: Layout = Layout { least: 10, gap: 3 };
/// `top`.
pub(super) const TOP: Layout = Layout { least: 20, gap: 3 };

/// Lays out lines with tabs.
pub(super) fn align(text: &str, layout: Layout) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> =
        lines.iter().map(|cells| vec![0; cells.len().saturating_sub(1)]).collect();
    let most = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..most {
        let mut from = 0;
        while from < lines.len() {
            if widths[from].len() <= column {
                from += 1;
                continue;
            }
            let to = (from..lines.len()).find(|&line| widths[line].len() <= column).unwrap_or(lines.len());
            let widest = lines[from..to].iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
            let width = (widest + layout.gap).max(layout.least);
            for line in &mut widths[from..to] {
                line[column] = width;
            }
            from = to;
        }
    }
    let mut aligned = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (cell, width) in cells.iter().zip(widths) {
            aligned.push_str(cell);
            aligned.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        aligned.push_str(cells.last().unwrap_or(&""));
        aligned.push('\n');
    }
    aligned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_block() {
        assert_eq!(
            align("NAME\tSTATE\tX\nverylongname\ta\tb\n", TABLE),
            "NAME           STATE     X\nverylongname   a         b\n"
        );
        // A line without tabs ends the block.
        assert_eq!(
            align("a\tb\nno cells\nlonger cell\tb\n", TABLE),
            "a         b\nno cells\nlonger cell   b\n"
        );
        assert_eq!(align("…é\tx\n", TABLE), "…é        x\n");
    }
}

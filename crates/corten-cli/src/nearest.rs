//! The name that was probably meant.

/// The known name that is nearest to `typed`: at most a third of its letters differ, and not more than three.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (typed.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        // Of two that are as near, letters in the wrong order are the likelier slip.
        .map(|name| (distance(typed, name), letters(name) != letters(typed), name))
        .filter(|(distance, ..)| *distance <= most)
        .min()
        .map(|(.., name)| name)
}

fn letters(text: &str) -> Vec<char> {
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters
}

/// How many letters must be changed, put in, left out or swapped with their neighbour to make one of the other (the
/// "optimal string alignment" distance).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<usize>>()];
    for (at, letter) in one.iter().enumerate() {
        let mut row = vec![at + 1];
        for (place, against) in other.iter().enumerate() {
            let changed = rows[at][place] + usize::from(letter != against);
            let mut least = changed.min(rows[at][place + 1] + 1).min(row[place] + 1);
            if at > 0 && place > 0 && one[at - 1] == *against && *letter == other[place - 1] {
                least = least.min(rows[at - 1][place - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood_and_other_words_are_not() {
        let known = ["cp", "ps", "run", "images", "inspect", "volume"];
        for (typed, meant) in [
            ("sp", Some("ps")),
            ("rnu", Some("run")),
            ("imagse", Some("images")),
            ("insepct", Some("inspect")),
            ("volumes", Some("volume")),
            ("frobnicate", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}

//! "Did you mean": the nearest of a few names.

/// The candidate nearest to what was written, if any is near enough to be meant.
pub(super) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = normal(written);
    // A third of the letters may be wrong; a bound on the length keeps the work small.
    let allowed = (written.len() / 3).max(1);
    if written.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&written, &normal(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Longer text is not a misspelt key.
const LONGEST: usize = 64;

/// `Self-Signed`, `self_signed` and `self signed` are the same word misspelt.
fn normal(text: &str) -> Vec<char> {
    text.chars()
        .filter(|c| !matches!(c, '-' | '_' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Insertions, deletions, substitutions and swaps of neighbours that lead from one to the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in to.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && from[row - 1] == *b && *a == to[column - 1];
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood() {
        let keys = ["realm", "listen", "relay_ports", "user_quota"];
        assert_eq!(nearest("relm", keys), Some("realm"));
        assert_eq!(nearest("lisetn", keys), Some("listen"));
        assert_eq!(nearest("relayports", keys), Some("relay_ports"));
        assert_eq!(nearest("Relay-Port", keys), Some("relay_ports"));
    }

    #[test]
    fn another_word_is_not_a_slip() {
        assert_eq!(nearest("colour", ["realm", "listen"]), None);
        assert_eq!(nearest(&"realm".repeat(1000), ["realm"]), None);
    }

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_zero_only_for_equals(a in "[abc]{0,8}", b in "[abc]{0,8}") {
            let (a, b) = (chars(&a), chars(&b));
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
        }
    }
}

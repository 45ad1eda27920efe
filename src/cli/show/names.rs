//! Words for lists of names: short where there are many, and safe to print.

pub(crate) use crate::model::{count, thousands};

/// A name without characters that would steer a terminal.
pub(crate) fn clean(name: &str) -> String {
    if name.chars().any(char::is_control) {
        name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
    } else {
        name.to_owned()
    }
}

/// The first `most` names, and how many more there are.
pub(crate) fn some_of<T: AsRef<str>>(names: &[T], most: usize) -> String {
    let shown: Vec<String> = names.iter().take(most).map(|name| clean(name.as_ref())).collect();
    let rest = names.len().saturating_sub(most);
    match rest {
        0 => shown.join(", "),
        1 => format!("{}, {}", shown.join(", "), clean(names[most].as_ref())),
        _ => format!("{} … and {} more", shown.join(", "), thousands(rest as i64)),
    }
}

/// The first `most` of some pods, those of one maker drawn together: `ml/train-{a, b, c}`.
pub(crate) fn some_pods(pods: &[&str], most: usize) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for pod in pods {
        let (stem, rest) = pod.rfind('-').map_or(("", *pod), |at| pod.split_at(at + 1));
        match groups.iter_mut().find(|(known, _)| *known == stem) {
            Some((_, members)) => members.push(rest),
            None => groups.push((stem, vec![rest])),
        }
    }
    let shown: Vec<String> = groups
        .iter()
        .map(|(stem, members)| match members.as_slice() {
            [only] => clean(&format!("{stem}{only}")),
            _ if stem.is_empty() => some_of(members, most),
            _ => format!("{}{{{}}}", clean(stem), some_of(members, most)),
        })
        .collect();
    match shown.len().checked_sub(most) {
        None | Some(0) => shown.join(", "),
        Some(_) => {
            let rest: usize = groups[most..].iter().map(|(_, members)| members.len()).sum();
            format!("{} … and {} more", shown[..most].join(", "), thousands(rest as i64))
        }
    }
}

/// Ascending numbers with runs drawn together: `0, 2-5, 7`.
pub(crate) fn ranges(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let parts: Vec<String> = parts
        .iter()
        .map(|&(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first}-{last}"),
        })
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_read_as_a_range() {
        assert_eq!(ranges(&[0, 2, 3, 4, 5, 7, 8]), "0, 2-5, 7, 8");
        assert_eq!(ranges(&[u32::MAX]), "4294967295");
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let names = ["a", "b", "c", "d"];
        assert_eq!(some_of(&names, 4), "a, b, c, d");
        assert_eq!(some_of(&names, 3), "a, b, c, d", "`and 1 more` would be no shorter than the name");
        assert_eq!(some_of(&names, 2), "a, b … and 2 more");
    }

    #[test]
    fn pods_of_one_maker_share_their_stem() {
        let pods = ["ml/a-1", "ml/b-x7-k2", "ml/b-x7-q9", "ml/solo"];
        assert_eq!(some_pods(&pods, 4), "ml/a-1, ml/b-x7-{k2, q9}, ml/solo");
        assert_eq!(some_pods(&pods, 1), "ml/a-1 … and 3 more");
        assert_eq!(some_pods(&["n/p-a", "n/p-b", "n/p-c", "n/p-d"], 2), "n/p-{a, b … and 2 more}");
        assert_eq!(some_pods(&[], 2), "");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(clean("ml/\u{1b}[2Jx"), "ml/\\u{1b}[2Jx");
    }
}

//! The least number of GPUs with which the work waits no longer than allowed, found by replaying it.
//!
//! Input: a range and something that tells the wait for a number of GPUs, such as a simulation. With more GPUs a replay waits less *as a rule*,
//! not always: decisions taken on the way differ. The answer therefore rests on its neighbours, and exceptions that were seen are told.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::RangeInclusive;

/// What a search for the least number of GPUs has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed<W> {
    /// The least number of GPUs found with which the wait is short enough, one GPU fewer (if the range has it) is too few, and one more (if
    /// the range has it) is enough too. None when even the most are too few.
    pub gpus: Option<u64>,
    /// Numbers below `gpus` that were enough although a larger one was not: the wait does not simply fall with the number of GPUs.
    pub exceptions: Vec<u64>,
    /// Every number that was looked at, with its wait.
    pub looked_at: BTreeMap<u64, W>,
}

/// Finds the least number of GPUs of a range whose wait is at most `wait`. It looks at about as many numbers as the range's length has
/// binary digits, and never at one twice.
///
/// # Errors
/// The first error of `evaluate`.
pub fn needed_at_equal_wait<W: Ord, E>(
    range: RangeInclusive<u64>,
    wait: &W,
    mut evaluate: impl FnMut(u64) -> Result<W, E>,
) -> Result<Needed<W>, E> {
    let (least, most) = range.into_inner();
    let mut looked_at = BTreeMap::new();
    if least > most {
        return Ok(Needed { gpus: None, exceptions: Vec::new(), looked_at });
    }
    let mut enough = |gpus: u64| -> Result<bool, E> {
        let waited = match looked_at.entry(gpus) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(evaluate(gpus)?),
        };
        Ok(*waited <= *wait)
    };
    // The answer lies in `low..=high`; `high` is enough whenever the loop is entered.
    let (mut low, mut high) = (least, most);
    let mut gpus = None;
    while enough(high)? {
        let mut found = high;
        while low < found {
            let middle = low + (found - low) / 2;
            if enough(middle)? {
                found = middle;
            } else {
                low = middle + 1;
            }
        }
        // By now `found - 1`, unless below the range, was looked at and is too few.
        if found == most || enough(found + 1)? {
            gpus = Some(found);
            break;
        }
        // An exception: look above the number that was not enough.
        (low, high) = (found + 2, most);
        if low > high {
            break;
        }
    }
    let top = gpus.unwrap_or(most);
    let worst = looked_at.iter().filter(|&(&it, waited)| it < top && waited > wait).map(|(&it, _)| it).next_back();
    let early = |(&it, waited): (&u64, &W)| (waited <= wait && worst.is_some_and(|worst| it < worst)).then_some(it);
    let exceptions = looked_at.iter().filter_map(early).collect();
    Ok(Needed { gpus, exceptions, looked_at })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn search(waits: &[u32], wait: u32) -> Needed<u32> {
        let evaluate = |gpus: u64| Ok::<_, Infallible>(waits[gpus as usize - 1]);
        needed_at_equal_wait(1..=waits.len() as u64, &wait, evaluate).expect("no errors")
    }

    #[test]
    fn the_answer_stands_between_too_few_and_enough() {
        let found = search(&[90, 70, 40, 30, 30, 10, 5, 0], 30);
        assert_eq!((found.gpus, found.exceptions), (Some(4), vec![]));
        assert!(found.looked_at.contains_key(&3) && found.looked_at.contains_key(&5), "both neighbours");
        assert_eq!(search(&[90, 70], 30).gpus, None);
        assert_eq!(search(&[9, 7], 30).gpus, Some(1));
        assert_eq!(search(&[31], 30).gpus, None);
    }

    #[test]
    fn an_exception_is_told_and_not_taken() {
        // Four seem to be enough, five are not.
        let found = search(&[90, 80, 70, 30, 60, 20, 20, 20], 30);
        assert_eq!((found.gpus, found.exceptions), (Some(6), vec![4]));
        // All above fails but the last, which has no neighbour above.
        let found = search(&[90, 30, 40, 30], 30);
        assert_eq!((found.gpus, found.exceptions), (Some(4), vec![2]));
    }

    #[test]
    fn an_empty_range_has_no_answer_and_errors_are_passed_on() {
        let nothing = RangeInclusive::new(3, 2);
        assert_eq!(needed_at_equal_wait(nothing, &0, |_| Ok::<_, Infallible>(0)).expect("no errors").gpus, None);
        assert_eq!(needed_at_equal_wait(1..=4, &0, |gpus| if gpus == 4 { Ok(0) } else { Err(gpus) }), Err(2));
    }

    proptest! {
        #[test]
        fn where_the_wait_falls_it_agrees_with_trying_every_number(
            mut waits in prop::collection::vec(0_u32..100, 1..60), wait in 0_u32..100,
        ) {
            waits.sort_unstable_by(|one, two| two.cmp(one));
            let found = search(&waits, wait);
            let every = waits.iter().position(|&it| it <= wait).map(|index| index as u64 + 1);
            prop_assert_eq!(found.gpus, every);
            prop_assert_eq!(found.exceptions, Vec::<u64>::new());
            prop_assert!(found.looked_at.len() <= 9, "{} looked at", found.looked_at.len());
        }

        #[test]
        fn where_it_does_not_fall_the_neighbours_still_hold(
            waits in prop::collection::vec(0_u32..100, 1..60), wait in 0_u32..100,
        ) {
            let found = search(&waits, wait);
            let enough = |gpus: u64| waits[gpus as usize - 1] <= wait;
            match found.gpus {
                Some(gpus) => {
                    prop_assert!(enough(gpus));
                    prop_assert!(gpus == waits.len() as u64 || enough(gpus + 1));
                    prop_assert!(gpus == 1 || !enough(gpus - 1));
                    prop_assert!(found.exceptions.iter().all(|&it| it < gpus && enough(it)));
                }
                None => prop_assert!(!enough(waits.len() as u64)),
            }
        }
    }
}

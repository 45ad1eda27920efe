//! The facets of what one machine can hold, by the double description method in exact integers.
//!
//! Input: the patterns of one machine. Output: the maximal vertices of the dual polytope `{y ≥ 0 : y·a ≤ 1 for every
//! pattern a}`, each as integer weights over one divisor. Every one of them is a valid lower bound on the number of
//! machines (`⌈w·d / divisor⌉`), and the largest of `w·d / divisor` is the value of the linear relaxation.
//! Nothing here rounds; a count of rays bounds the work.

use super::Facet;

/// Rays held at once before the derivation gives up: far above what boards need (a few hundred), low enough to end in
/// well under a second.
const RAY_LIMIT: usize = 4096;

/// An extreme ray of the cone `{(y, t) ≥ 0 : t ≥ y·a}` and the constraints that it satisfies with equality.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ray {
    /// `y`, then `t`.
    coordinates: Vec<i64>,
    /// Bit set over the constraints: first the coordinates, then the patterns in the order of their insertion.
    tight: Vec<u64>,
}

/// Derives the facets; `None` when the work limit or the range of the arithmetic is exceeded.
pub(super) fn derive(types: usize, patterns: &[Vec<u64>]) -> Option<Vec<Facet>> {
    let words = (types + 1 + patterns.len()).div_ceil(64);
    let mut rays: Vec<Ray> = (0..=types).map(|axis| unit_ray(types, axis, words)).collect();
    for (index, pattern) in patterns.iter().enumerate() {
        rays = cut(rays, pattern, types + 1 + index)?;
        if rays.len() > RAY_LIMIT {
            return None;
        }
    }
    let mut facets = Vec::new();
    for ray in &rays {
        let (divisor, weights) = ray.coordinates.split_last()?;
        if *divisor > 0 {
            let weights = weights.iter().map(|&weight| u32::try_from(weight).ok()).collect::<Option<Vec<_>>>()?;
            facets.push(Facet { weights, divisor: u32::try_from(*divisor).ok()? });
        }
    }
    Some(maximal(facets))
}

/// The ray along one axis: it meets every coordinate constraint but its own with equality.
fn unit_ray(types: usize, axis: usize, words: usize) -> Ray {
    let mut ray = Ray { coordinates: vec![0; types + 1], tight: vec![0; words] };
    ray.coordinates[axis] = 1;
    for other in (0..=types).filter(|&other| other != axis) {
        set(&mut ray.tight, other);
    }
    ray
}

/// Intersects the cone with `t ≥ y·pattern`.
fn cut(rays: Vec<Ray>, pattern: &[u64], constraint: usize) -> Option<Vec<Ray>> {
    let slacks = rays.iter().map(|ray| slack(ray, pattern)).collect::<Option<Vec<_>>>()?;
    let mut next = Vec::new();
    for (above, &positive) in slacks.iter().enumerate().filter(|(_, slack)| **slack > 0) {
        for (below, &negative) in slacks.iter().enumerate().filter(|(_, slack)| **slack < 0) {
            if adjacent(&rays, above, below) {
                next.push(combine(&rays[above], positive, &rays[below], negative, constraint)?);
            }
        }
    }
    for (mut ray, slack) in rays.into_iter().zip(slacks) {
        if slack == 0 {
            set(&mut ray.tight, constraint);
        }
        if slack >= 0 {
            next.push(ray);
        }
    }
    Some(next)
}

/// `t − y·pattern`.
fn slack(ray: &Ray, pattern: &[u64]) -> Option<i64> {
    let (&t, y) = ray.coordinates.split_last()?;
    y.iter()
        .zip(pattern)
        .try_fold(t, |sum, (&weight, &count)| sum.checked_sub(weight.checked_mul(i64::try_from(count).ok()?)?))
}

/// Two extreme rays span a face of dimension two when no third ray meets all constraints that both meet.
fn adjacent(rays: &[Ray], first: usize, second: usize) -> bool {
    let common: Vec<u64> = rays[first].tight.iter().zip(&rays[second].tight).map(|(a, b)| a & b).collect();
    !rays.iter().enumerate().any(|(index, ray)| {
        index != first && index != second && common.iter().zip(&ray.tight).all(|(need, have)| need & !have == 0)
    })
}

/// The point between two rays where the new constraint is met with equality.
fn combine(above: &Ray, positive: i64, below: &Ray, negative: i64, constraint: usize) -> Option<Ray> {
    let mut coordinates = Vec::with_capacity(above.coordinates.len());
    for (&high, &low) in above.coordinates.iter().zip(&below.coordinates) {
        coordinates.push(positive.checked_mul(low)?.checked_sub(negative.checked_mul(high)?)?);
    }
    let divisor = coordinates.iter().fold(0, |divisor, &value| gcd(divisor, value));
    if divisor > 1 {
        for value in &mut coordinates {
            *value /= divisor;
        }
    }
    let mut tight: Vec<u64> = above.tight.iter().zip(&below.tight).map(|(a, b)| a & b).collect();
    set(&mut tight, constraint);
    Some(Ray { coordinates, tight })
}

fn set(bits: &mut [u64], bit: usize) {
    bits[bit / 64] |= 1 << (bit % 64);
}

fn gcd(first: i64, second: i64) -> i64 {
    if second == 0 { first } else { gcd(second, first % second) }
}

/// Keeps the facets that no other facet implies, in a canonical order.
fn maximal(mut facets: Vec<Facet>) -> Vec<Facet> {
    facets.sort_unstable();
    facets.dedup();
    let implied = |facet: &Facet, by: &Facet| {
        facet.weights.iter().zip(&by.weights).all(|(&weak, &strong)| {
            u64::from(weak) * u64::from(by.divisor) <= u64::from(strong) * u64::from(facet.divisor)
        })
    };
    let kept = facets.iter().filter(|facet| !facets.iter().any(|other| other != *facet && implied(facet, other)));
    kept.cloned().collect()
}
